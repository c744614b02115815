#!/usr/bin/env bash
# Runs the checks that are installed on this machine and says which are not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/checks.bash
source deploy/checks.bash

check cargo-deny "cargo deny --version" "not installed" \
    cargo deny --locked --log-level error check bans licenses sources
check "cargo-deny advisories" "cargo deny --locked fetch db" \
    "cargo-deny is not installed, or the advisory database cannot be fetched" \
    cargo deny --locked --log-level error check advisories
check typos "typos --version" "not installed" typos
deploy/check.sh || status=1
exit "$status"

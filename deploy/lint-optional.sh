#!/usr/bin/env bash
# Runs the checks that are installed on this machine and says which are not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

status=0

# Runs check $1, the command after its probe $2, where the probe succeeds; else says why not ($3).
check() {
    local name=$1 probe=$2 otherwise=$3
    shift 3
    if ! $probe >/dev/null 2>&1; then
        printf 'lint: %s skipped: %s\n' "$name" "$otherwise"
        return
    fi
    printf 'lint: %s\n' "$name"
    "$@" || status=1
}

mapfile -t scripts < <(find deploy .ci -type f \( -name '*.sh' -o -path .ci/run \) | sort)
check cargo-deny "cargo deny --version" "not installed" \
    cargo deny --locked --log-level error check bans licenses sources
check "cargo-deny advisories" "cargo deny --locked fetch db" \
    "cargo-deny is not installed, or the advisory database cannot be fetched" \
    cargo deny --locked --log-level error check advisories
check typos "typos --version" "not installed" typos
check shellcheck "shellcheck --version" "not installed" shellcheck "${scripts[@]}"
exit "$status"

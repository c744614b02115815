#!/usr/bin/env bash
# Installs what some tests use and skip without: a browser, Prometheus, linters, Python
# libraries. Only where it may (root, apt-get); what cannot be had is said and left out.
#
#     deploy/ci-packages.sh VENV      # VENV: folder of the Python environment to make
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=$1
packages=(chromium chromium-driver prometheus shellcheck)

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    # With run level 1 no package starts its service.
    export RUNLEVEL=1
    apt-get update -qq >/dev/null 2>&1 || echo "packages: the lists cannot be renewed"
    for package in "${packages[@]}"; do
        apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 ||
            echo "packages: $package cannot be installed; tests that need it are skipped"
    done
else
    echo "packages: not root, or no apt-get; tests that need what is missing are skipped"
fi
requirements=deploy/tests/requirements.txt
if ! python3 -m venv "$venv"; then
    echo "packages: no Python environment; tests that need its libraries are skipped"
elif ! "$venv/bin/pip" install -q -r "$requirements"; then
    # One that cannot be had is no reason to do without the others.
    grep -v '^#' "$requirements" | while read -r requirement; do
        "$venv/bin/pip" install -q "$requirement" ||
            echo "packages: $requirement cannot be installed; tests that need it are skipped"
    done
fi

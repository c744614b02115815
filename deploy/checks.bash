# Sourced by scripts that run the checks whose tools are installed, and say which are not.
# shellcheck shell=bash

# What the script that sources this exits with.
# shellcheck disable=SC2034
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
    # shellcheck disable=SC2034
    "$@" || status=1
}

#!/usr/bin/env bash
# Checks what is in deploy/ without the engines that it is for, by the tools that are installed on
# this machine, and says which are not. PyPI has some: pip install -r deploy/tests/requirements.txt
# What belongs together in these files is checked by deploy/tests/test_deploy.py.
#
# Functions here are called by `check`, out of sight of shellcheck.
# shellcheck disable=SC2317
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/checks.bash
source deploy/checks.bash

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Verifies unit file $1. What it starts is not on this machine, so a copy starts another program;
# any word about the copy is a fault, since the exit status is 0 for a directive that is unknown.
verify_unit() {
    local copy="$work/${1##*/}" found
    sed 's#^ExecStart=[^ ]*#ExecStart=/bin/true#' "$1" >"$copy"
    found=$(systemd-analyze verify --man=no "$copy" 2>&1 | grep -F "${1##*/}" || true)
    [ -z "$found" ] && return
    printf '%s\n' "${found//$work\//deploy/systemd/}" >&2
    return 1
}

# Renders overlay $1, and again with every component that it leaves to its user.
render_overlay() {
    local tree="$work/kubernetes" name=${1##*/}
    cp -r deploy/kubernetes "$tree.$name"
    kubectl kustomize "$tree.$name/overlays/$name" >"$work/$name.yaml" || return 1
    sed -i 's/^  # - \.\./  - ../' "$tree.$name/overlays/$name/kustomization.yaml"
    kubectl kustomize "$tree.$name/overlays/$name" >"$work/$name-all.yaml"
}

# Whether there is something rendered of overlay $1, and the tool for it.
can_validate() {
    [ -s "$work/${1##*/}.yaml" ] && kubernetes-validate --version
}

# Holds what was rendered of overlay $1 against the schemas; custom resources have none there.
validate_overlay() {
    local name=${1##*/} file
    for file in "$work/$name.yaml" "$work/$name-all.yaml"; do
        kubernetes-validate --strict --quiet --no-warn "$file" || return 1
    done
}

mapfile -t scripts < <(find deploy .ci -type f \
    \( -name '*.sh' -o -name '*.bash' -o -name '*.sbatch' -o -path .ci/run \) | sort)
check shellcheck "shellcheck --version" "not installed" shellcheck "${scripts[@]}"
check hadolint "hadolint --version" "not installed" hadolint deploy/docker/*.Dockerfile

compose=(docker compose)
"${compose[@]}" version >/dev/null 2>&1 || compose=(docker-compose)
for files in "compose.yaml" "compose.yaml compose.gpu.yaml"; do
    arguments=()
    for file in $files; do
        arguments+=(-f "deploy/compose/$file")
    done
    check "compose config of $files" "${compose[*]} version" "Docker Compose is not installed" \
        "${compose[@]}" "${arguments[@]}" config --quiet
done

for unit in deploy/systemd/*.service; do
    check "systemd-analyze verify of ${unit##*/}" "systemd-analyze --version" "not installed" \
        verify_unit "$unit"
done

for overlay in deploy/kubernetes/overlays/*; do
    name=${overlay##*/}
    check "kubectl kustomize of $name" "kubectl version --client" "not installed" \
        render_overlay "$overlay"
    check "Kubernetes' schemas on $name" \
        "can_validate $name" "kubernetes-validate is not installed, or kubectl is not" \
        validate_overlay "$overlay"
done
exit "$status"

#!/usr/bin/env bash
# Makes libtorch 2.11.0 ready for `cargo build` and links `.libtorch` in this checkout to it.
#
#   deploy/libtorch.sh           the CPU libraries alone (about 510 MB on disk)
#   deploy/libtorch.sh --cuda    with the CUDA libraries too (about 3.6 GB on disk)
#
# An existing LIBTORCH of the right version wins, and a valid `.libtorch` is kept. Otherwise the
# pinned wheels are fetched with pip, checked and unpacked into a cache that all checkouts share:
# ${GRADSWEEP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gradsweep}. A run that is killed leaves only
# a `.partial.*` folder there, which the next run removes; two runs at once wait for each other.
#
# In both forms lib/libtorch.so is a linker script that names the CPU library alone, so that a
# binary built against either needs no CUDA library and serves hosts with and without a GPU.
set -euo pipefail

VERSION=2.11.0
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LINK=$ROOT/.libtorch
CACHE=${GRADSWEEP_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/gradsweep}
PYTHON_MINOR_MIN=9

# name, version, platform tag of the wheel, sha256. The tags are the wheels' own, so that any
# Python can fetch them.
WHEELS_CPU="\
torch $VERSION manylinux_2_28_x86_64 7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a
nvidia-cuda-runtime 13.0.96 manylinux2014_x86_64 7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-cupti 13.0.85 manylinux_2_25_x86_64 4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8"
# What torch's own metadata requires beside those, without triton and the Python packages.
WHEELS_CUDA="\
$WHEELS_CPU
nvidia-cublas 13.1.0.3 manylinux_2_27_x86_64 ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171
nvidia-cuda-nvrtc 13.0.88 manylinux2010_x86_64 ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575
nvidia-cudnn-cu13 9.19.0.56 manylinux_2_27_x86_64 d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf
nvidia-cufft 12.0.0.61 manylinux2014_x86_64 6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3
nvidia-cufile 1.15.1.6 manylinux2014_x86_64 08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44
nvidia-curand 10.4.0.35 manylinux_2_27_x86_64 1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc
nvidia-cusolver 12.0.4.66 manylinux_2_27_x86_64 0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112
nvidia-cusparse 12.6.3.3 manylinux2014_x86_64 2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b
nvidia-cusparselt-cu13 0.8.0 manylinux2014_x86_64 25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd
nvidia-nccl-cu13 2.28.9 manylinux_2_18_x86_64 e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42
nvidia-nvjitlink 13.0.88 manylinux2010_x86_64 13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b
nvidia-nvshmem-cu13 3.4.5 manylinux2014_x86_64 290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80
nvidia-nvtx 13.0.85 manylinux1_x86_64 4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4"
# Peak use of the cache's file system: pip holds the torch wheel twice for a moment; at the end
# of the CUDA set, the unpacked files and one more wheel lie there.
DISK_MIB_CPU=1200
DISK_MIB_CUDA=4500

say() { printf 'libtorch: %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
usage() {
    printf 'usage: deploy/libtorch.sh [--cpu | --cuda]\n' >&2
    printf '  --cuda  fetch the CUDA libraries too (a host with an NVIDIA GPU)\n' >&2
    printf '  --cpu   go back to the CPU libraries after --cuda\n' >&2
}

# Prints the version of the libtorch folder $1 without its build suffix; nothing if it has none.
version_of() {
    local dir=$1 text=
    if [ -f "$dir/build-version" ]; then
        text=$(head -n 1 "$dir/build-version")
    elif [ -f "$dir/version.py" ]; then
        text=$(sed -n "s/^__version__ = ['\"]\([^'\"]*\)['\"].*/\1/p" "$dir/version.py")
    elif [ -f "$dir/include/torch/headeronly/version.h" ]; then
        text=$(sed -n 's/^ *"\([0-9][0-9.]*\)".*/\1/p' "$dir/include/torch/headeronly/version.h")
    elif [ -f "$dir/include/torch/csrc/api/include/torch/version.h" ]; then
        text=$(sed -n 's/^#define TORCH_VERSION_\(MAJOR\|MINOR\|PATCH\) //p' \
            "$dir/include/torch/csrc/api/include/torch/version.h" | paste -sd .)
    fi
    text=${text%%$'\n'*}
    printf '%s' "${text%%+*}"
}

# Whether folder $1 is a whole libtorch of the pinned version in form $2 (any, cpu or cuda).
is_ready() {
    [ "$(version_of "$1")" = "$VERSION" ] || return 1
    [ -s "$1/lib/libtorch_cpu.so" ] || return 1
    [ -s "$1/lib/libc10.so" ] || return 1
    [ -e "$1/lib/libtorch.so" ] || return 1
    [ -f "$1/include/torch/csrc/api/include/torch/torch.h" ] || return 1
    [ "$2" != cuda ] || [ -s "$1/lib/libtorch_cuda.so" ]
}

# Points `.libtorch` at $1 in one step, so that a build beside it never sees it absent.
link_to() {
    local target=$1 fresh="$LINK.new.$$"
    if [ "$(readlink "$LINK" 2>/dev/null)" = "$target" ]; then
        return
    fi
    if [ -e "$LINK" ] && [ ! -L "$LINK" ]; then
        die "$LINK exists and is not a link, so it is not replaced. If it is a libtorch of your own," \
            "set LIBTORCH to another place for it; else remove it. Then run this again."
    fi
    ln -s "$target" "$fresh" && mv -T "$fresh" "$LINK"
}

# An existing LIBTORCH wins when its version is right; a wrong one is never passed over in silence.
use_existing() {
    local dir=$1 found
    [ -d "$dir" ] || die "LIBTORCH is set to '$dir', which is not a folder. Point it at a libtorch" \
        "$VERSION folder (one with lib/ and include/), or unset it to have one fetched."
    dir=$(cd "$dir" && pwd -P)
    found=$(version_of "$dir")
    if [ "$found" != "$VERSION" ]; then
        die "LIBTORCH is set to '$dir', which is libtorch ${found:-of unknown version}, but" \
            "$VERSION is needed (tch 0.24 binds exactly that release). Point LIBTORCH at a $VERSION" \
            "folder, or unset it to have one fetched."
    fi
    is_ready "$dir" "$FORM" || die "LIBTORCH is set to '$dir', which is libtorch $VERSION but" \
        "lacks lib/libtorch_cpu.so, lib/libc10.so, lib/libtorch.so, its headers or (with --cuda)" \
        "lib/libtorch_cuda.so. Point it at a whole libtorch, or unset it to have one fetched."
    link_to "$dir"
    say "$VERSION from LIBTORCH is in use: $dir"
}

check_platform() {
    local os machine
    os=$(uname -s) machine=$(uname -m)
    if [ "$os" != Linux ] || [ "$machine" != x86_64 ]; then
        die "the pinned libtorch wheels are for Linux on x86_64, and this is $os on $machine." \
            "Build libtorch $VERSION for this machine and set LIBTORCH to its folder."
    fi
}

# Sets PY to a Python of at least 3.9 that has pip; a virtual environment lends its pip if none has.
find_python() {
    local candidate path seen=
    PY=
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.{14,13,12,11,10,9} python; do
        path=$(command -v "$candidate" 2>/dev/null) || continue
        "$path" -c "import sys; sys.exit(sys.version_info < (3, $PYTHON_MINOR_MIN))" \
            >/dev/null 2>&1 || continue
        seen=${seen:-$path}
        if "$path" -m pip --version >/dev/null 2>&1; then
            PY=$path
            return
        fi
    done
    [ -n "$seen" ] || die "no Python 3.$PYTHON_MINOR_MIN or newer was found; it fetches and unpacks" \
        "libtorch. Install one (Debian and Ubuntu: apt install python3 python3-pip), or name one" \
        "with PYTHON=/path/to/python3. A libtorch $VERSION of your own serves too: set LIBTORCH to it."
    PY=$seen
}

# Gives PY a pip from a throw-away virtual environment where it has none itself.
ensure_pip() {
    "$PY" -m pip --version >/dev/null 2>&1 && return
    if "$PY" -m venv "$WORK/venv" >/dev/null 2>&1 \
        && "$WORK/venv/bin/python" -m pip --version >/dev/null 2>&1; then
        PY=$WORK/venv/bin/python
        return
    fi
    die "$PY has neither pip nor the venv module that could lend it; pip fetches libtorch." \
        "Install it (Debian and Ubuntu: apt install python3-pip; elsewhere: $PY -m ensurepip)," \
        "or set LIBTORCH to a libtorch $VERSION folder of your own."
}

check_disk() {
    local needed_mib=$1 free_mib
    free_mib=$(df -Pk "$CACHE" | awk 'NR == 2 { print int($4 / 1024) }')
    if [ "$free_mib" -lt "$needed_mib" ]; then
        die "not enough disk: unpacking libtorch needs $needed_mib MiB in '$CACHE', and $free_mib" \
            "MiB are free. Free some, or set GRADSWEEP_CACHE to a folder on a larger disk."
    fi
}

# Holds the cache's lock on descriptor 9 until this process ends; the system drops it on any death.
take_lock() {
    local lock="$CACHE/libtorch-$VERSION-$FORM.lock"
    exec 9>>"$lock"
    "$PY" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null && return
    say "another run is setting up the same cache; waiting for it"
    "$PY" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' || die "the file '$lock' cannot be" \
        "locked (a network file system without locks?). Set GRADSWEEP_CACHE to a local folder."
}

# Says what a failed pip download means, from its log $1, for the wheel named $2.
explain_pip_failure() {
    local log=$1 wheel=$2
    if grep -qE 'No space left on device|Errno 28' "$log"; then
        die "the disk filled up while fetching $wheel into '$CACHE'. Free some, or set" \
            "GRADSWEEP_CACHE to a folder on a larger disk."
    fi
    if grep -qiE 'connection|timed out|name resolution|proxy|SSLError|network is unreach' "$log"; then
        die "pip could not reach the package index to fetch $wheel (no network, or a proxy or" \
            "mirror that pip is not told of; its message is above). Check the network and pip's" \
            "settings and run this again, or set LIBTORCH to a libtorch $VERSION folder of your own."
    fi
    die "pip could not fetch $wheel (its message is above). If your package index is a mirror" \
        "without it, point pip at one that has it, or set LIBTORCH to a libtorch $VERSION folder."
}

# Fetches the wheel $1 $2 for platform $3, checks it against $4, and unpacks what is needed.
fetch_and_unpack() {
    local name=$1 version=$2 platform=$3 sha256=$4 status=0
    local into="$WORK/wheel" log="$WORK/pip.log"
    rm -rf "$into" "$log"
    mkdir -p "$into" "$WORK/tmp"
    say "fetching $name $version"
    : >"$log"
    # The lock is not handed on: an orphaned pip must not keep it. pip's own cache would hold a
    # second copy of what is kept here.
    TMPDIR="$WORK/tmp" PIP_REQUIRE_VIRTUALENV=0 "$PY" -m pip download "$name==$version" \
        --no-deps --only-binary=:all: --python-version 311 --implementation cp --abi cp311 \
        --platform "$platform" --dest "$into" --no-cache-dir --disable-pip-version-check \
        --log "$log" 9>&- >&2 || explain_pip_failure "$log" "$name $version"
    "$PY" "$ROOT/deploy/libtorch_unpack.py" --wheels "$into" --sha256 "$sha256" \
        --dest "$WORK/libtorch" --form "$FORM" 9>&- >&2 || status=$?
    case $status in
        0) rm -rf "$into" ;;
        3) die "the checksum of $name $version is not the pinned one (see above), so it is not" \
            "used. A damaged download: run this again. The same once more: your package index or" \
            "proxy serves another file; point pip at a trustworthy one." ;;
        4) die "the disk filled up while unpacking $name into '$CACHE'. Free some, or set" \
            "GRADSWEEP_CACHE to a folder on a larger disk." ;;
        *) die "$name $version could not be unpacked (see above). Run this again; nothing was kept." ;;
    esac
}

# Builds the folder beside its final place and renames it, so that it is there whole or not at all.
build() {
    local final=$1 wheels=$WHEELS_CPU disk_mib=$DISK_MIB_CPU line
    if [ "$FORM" = cuda ]; then
        wheels=$WHEELS_CUDA disk_mib=$DISK_MIB_CUDA
    fi
    rm -rf "$CACHE/libtorch-$VERSION-$FORM.partial."*
    check_disk "$disk_mib"
    WORK="$CACHE/libtorch-$VERSION-$FORM.partial.$$"
    mkdir "$WORK"
    trap 'rm -rf "$WORK"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    ensure_pip
    while read -r line <&8; do
        # shellcheck disable=SC2086  # the four fields of a row
        fetch_and_unpack $line
    done 8<<<"$wheels"
    printf '%s\n' "$VERSION+$FORM" >"$WORK/libtorch/build-version"
    printf 'INPUT(libtorch_cpu.so)\n' >"$WORK/libtorch/lib/libtorch.so"
    ln -s libgomp.so.1 "$WORK/libtorch/lib/libgomp.so"
    is_ready "$WORK/libtorch" "$FORM" || die "the wheels lack a file that libtorch needs; nothing" \
        "was kept. Please report this with the messages above."
    rm -rf "$final"
    mv -T "$WORK/libtorch" "$final"
}

main() {
    local asked final
    FORM=any
    for asked in "$@"; do
        case $asked in
            --cpu) FORM=cpu ;;
            --cuda) FORM=cuda ;;
            -h | --help) usage; exit 0 ;;
            *) printf "error: unknown argument '%s'\n" "$asked" >&2; usage; exit 2 ;;
        esac
    done
    if [ -n "${LIBTORCH:-}" ] && [ "$LIBTORCH" != "$LINK" ]; then
        use_existing "$LIBTORCH"
        return
    fi
    if [ "$FORM" != cpu ] && is_ready "$LINK" "$FORM"; then
        say "$VERSION is ready: $(readlink -f "$LINK")"
        return
    fi
    [ "$FORM" = cuda ] || FORM=cpu
    final="$CACHE/libtorch-$VERSION-$FORM"
    if ! is_ready "$final" "$FORM"; then
        check_platform
        find_python
        if ! mkdir -p "$CACHE" 2>/dev/null || [ ! -w "$CACHE" ]; then
            die "the cache folder '$CACHE' cannot be written. Set GRADSWEEP_CACHE to a folder that can."
        fi
        CACHE=$(cd "$CACHE" && pwd -P)
        final="$CACHE/libtorch-$VERSION-$FORM"
        take_lock
        # The run that was waited for may have made it.
        is_ready "$final" "$FORM" || build "$final"
    fi
    link_to "$(cd "$final" && pwd -P)"
    say "$VERSION is ready: $final"
}

main "$@"

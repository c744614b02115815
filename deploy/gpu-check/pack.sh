#!/usr/bin/env bash
# Packs a folder that checks GradSweep on a GPU host without Rust: stripped release programs,
# MNIST, the sweep files and check.py. Run through `make gpu-check`.
#
#   deploy/gpu-check/pack.sh FOLDER_OF_THE_PROGRAMS FOLDER_TO_MAKE
set -euo pipefail

BYTES_MAX=60000000
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
MNIST_FILES="train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz
t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz"

die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Prints the first data directory with the whole of MNIST in it.
find_data() {
    local folder file
    for folder in ${GRADSWEEP_DATA:+"$GRADSWEEP_DATA"} "$ROOT/data" "$ROOT/../shared/data"; do
        for file in $MNIST_FILES; do
            [ -f "$folder/mnist/$file" ] || continue 2
        done
        printf '%s' "$folder"
        return
    done
    die "MNIST's four .gz files are in none of GRADSWEEP_DATA, ./data and ../shared/data (below" \
        "mnist/ there). Put them into ./data/mnist, or set GRADSWEEP_DATA to the folder above" \
        "mnist/."
}

[ $# = 2 ] || { printf 'usage: %s PROGRAMS OUT\n' "$0" >&2; exit 2; }
programs=$1 out=$2
data=$(find_data)
fresh="$out.new.$$"
trap 'rm -rf "$fresh"' EXIT
mkdir -p "$fresh/bin" "$fresh/data/mnist" "$fresh/sweeps"
for program in coordinator worker trainer; do
    [ -f "$programs/$program" ] || die "no program '$programs/$program'; run make build first"
    strip -o "$fresh/bin/$program" "$programs/$program"
done
for file in $MNIST_FILES; do
    cp "$data/mnist/$file" "$fresh/data/mnist/"
done
chmod -R u+w "$fresh/data"
cp "$ROOT"/sweeps/*.yaml "$fresh/sweeps/"
cp "$HERE/check.py" "$fresh/"

bytes=$(find "$fresh" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
if [ "$bytes" -ge "$BYTES_MAX" ]; then
    die "the folder holds $bytes bytes, and less than $BYTES_MAX is wanted:" \
        "$(cd "$fresh" && du -ab | sort -rn | head -n 6 | tr '\n\t' '; ')"
fi
rm -rf "$out"
mv -T "$fresh" "$out"
printf '%s: %d.%d MB. Copy it to the GPU host and run there: python3 %s/check.py\n' \
    "$out" $((bytes / 1000000)) $((bytes / 100000 % 10)) "$(basename "$out")"

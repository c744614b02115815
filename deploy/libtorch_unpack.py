"""Checks one downloaded wheel and unpacks the part of it that libtorch needs.

Used by libtorch.sh. Exit status: 0 done, 3 checksum mismatch, 4 disk full, 5 anything else.
Runs on Python 3.9 and newer with the standard library alone.
"""

import argparse
import errno
import hashlib
import pathlib
import shutil
import sys
import time
import zipfile

CPU_LIBRARIES = {
    "libtorch_cpu.so",
    "libc10.so",
    "libgomp.so.1",
    "libcudart.so.13",
    "libcupti.so.13",
}
# Python's own parts, and the library that libtorch.sh replaces with a linker script.
PYTHON_LIBRARIES = {"libtorch_python.so", "libshm.so", "libtorch.so"}
LICENSE_NAMES = ("license", "notice", "copying")
CHUNK_BYTES = 1 << 20
PROGRESS_SECONDS = 5.0


class UnpackError(Exception):
    """What stopped the unpacking, for the user; `status` is the process's exit status."""

    def __init__(self, message, status=5):
        super().__init__(message)
        self.status = status


def only_wheel(folder):
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise UnpackError(f"expected one wheel in {folder}, found {len(wheels)}")
    return wheels[0]


def check(wheel, expected):
    digest = hashlib.sha256()
    with wheel.open("rb") as file:
        while True:
            chunk = file.read(CHUNK_BYTES)
            if not chunk:
                break
            digest.update(chunk)
    found = digest.hexdigest()
    if found != expected:
        raise UnpackError(f"{wheel.name}: sha256 is {found}, pinned is {expected}", status=3)


def is_library(path, form):
    if path.parent.name != "lib" or ".so" not in path.name:
        return False
    if path.parts[0] not in ("torch", "nvidia"):
        return False
    if form == "cpu":
        return path.name in CPU_LIBRARIES
    return path.name not in PYTHON_LIBRARIES


def place(name, form):
    """The path below the libtorch folder for a wheel's entry, or None where it is not needed."""
    path = pathlib.PurePosixPath(name)
    if name.endswith("/") or path.is_absolute() or ".." in path.parts:
        return None
    if path.parts[:2] == ("torch", "include"):
        return pathlib.PurePosixPath(*path.parts[1:])
    if is_library(path, form):
        return pathlib.PurePosixPath("lib", path.name)
    if path.parts[0].endswith(".dist-info") and path.name.lower().startswith(LICENSE_NAMES):
        package = path.parts[0].split("-")[0]
        return pathlib.PurePosixPath("licenses", package, *path.parts[1:])
    return None


def unpack(wheel, dest, form):
    with zipfile.ZipFile(wheel) as archive:
        wanted = [(entry, place(entry.filename, form)) for entry in archive.infolist()]
        wanted = [(entry, target) for entry, target in wanted if target is not None]
        if not any(target.parts[0] == "lib" for _, target in wanted):
            raise UnpackError(f"{wheel.name} holds none of the libraries that are needed")
        total = sum(entry.file_size for entry, _ in wanted)
        done = 0
        said = time.monotonic()
        for entry, target in wanted:
            path = dest / target
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, path.open("wb") as sink:
                shutil.copyfileobj(source, sink, CHUNK_BYTES)
            done += entry.file_size
            if time.monotonic() - said > PROGRESS_SECONDS:
                said = time.monotonic()
                print(f"libtorch: unpacking, {done >> 20} of {total >> 20} MiB", flush=True)
        print(f"libtorch: unpacked {len(wanted)} files, {total >> 20} MiB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheels", type=pathlib.Path, required=True, help="folder of one wheel")
    parser.add_argument("--sha256", required=True)
    parser.add_argument("--dest", type=pathlib.Path, required=True)
    parser.add_argument("--form", choices=("cpu", "cuda"), required=True)
    args = parser.parse_args()
    try:
        wheel = only_wheel(args.wheels)
        print(f"libtorch: checking and unpacking {wheel.name}", flush=True)
        check(wheel, args.sha256)
        unpack(wheel, args.dest, args.form)
    except UnpackError as error:
        print(f"libtorch: {error}", file=sys.stderr)
        return error.status
    except zipfile.BadZipFile as error:
        print(f"libtorch: {args.wheels}: not a wheel: {error}", file=sys.stderr)
        return 5
    except OSError as error:
        print(f"libtorch: {error}", file=sys.stderr)
        return 4 if error.errno in (errno.ENOSPC, errno.EDQUOT) else 5
    return 0


if __name__ == "__main__":
    sys.exit(main())

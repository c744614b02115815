"""Tests of libtorch.sh with small stand-in wheels and a stand-in pip: nothing is downloaded.

Each test runs a copy of the script in a checkout of its own, with the checksums of the stand-in
wheels in place of the pinned ones, a cache of its own, and a PATH that holds only stand-ins and
the few tools that the script uses. Run by `make test`; prints `N passed, N failed` at the end.
"""

import hashlib
import importlib.util
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock
import zipfile

DEPLOY = pathlib.Path(__file__).resolve().parent.parent
TOOLS = (
    "awk bash cat cut df dirname env grep head ln mkdir mv paste readlink rm sed uname"
).split()
DEADLINE_SECONDS = 30.0
VERSION = "2.11.0"

# What each stand-in wheel holds.
TORCH_FILES = (
    "torch/version.py",
    "torch/nn/functional.py",
    "torch/include/torch/csrc/api/include/torch/torch.h",
    "torch/include/c10/core/Device.h",
    "torch/lib/libtorch.so",
    "torch/lib/libtorch_cpu.so",
    "torch/lib/libtorch_cuda.so",
    "torch/lib/libtorch_python.so",
    "torch/lib/libc10.so",
    "torch/lib/libc10_cuda.so",
    "torch/lib/libgomp.so.1",
    "torch-2.11.0.dist-info/licenses/LICENSE",
)
NVIDIA_FILES = {
    "nvidia-cuda-runtime": ("nvidia/cu13/lib/libcudart.so.13",),
    "nvidia-cuda-cupti": ("nvidia/cu13/lib/libcupti.so.13", "nvidia/cu13/lib/libcheckpoint.so"),
}

# `pip download` copies a stand-in wheel; FAKE_PIP chooses how it fails. `hang` waits until the
# test opens the pipe.
FAKE_PYTHON = r"""#!@BASH@
if [ "$1" = -m ] && [ "$2" = pip ]; then
    [ "${FAKE_PIP:-}" != none ] || [ "${0%/venv/*}" != "$0" ] || exit 1
    [ "$3" = --version ] && exit 0
    package=${4%%==*} dest= log=
    while [ $# -gt 0 ]; do
        case $1 in --dest) dest=$2 ;; --log) log=$2 ;; esac
        shift
    done
    echo "$package" >>"$FAKE_DIR/pip-calls"
    case ${FAKE_PIP:-} in
        network) echo 'NewConnectionError: Failed to establish a new connection' >>"$log"; exit 1 ;;
        full) echo 'OSError: [Errno 28] No space left on device' >>"$log"; exit 1 ;;
        absent) echo 'ERROR: No matching distribution found' >>"$log"; exit 1 ;;
        hang) if [ "$package" = "${FAKE_HANG_AT:-torch}" ]; then read -r _ <"$FAKE_DIR/pipe"; fi ;;
    esac
    cp "$FAKE_DIR/wheels/$package.whl" "$dest/"
    exit
fi
if [ "$1" = -m ] && [ "$2" = venv ]; then
    [ "${FAKE_VENV:-}" = works ] || exit 1
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    exit
fi
if [ "${FAKE_PYTHON_AGE:-}" = old ] && [[ "${2:-}" == *version_info* ]]; then exit 1; fi
exec @PYTHON@ "$@"
"""


def load_unpack_module():
    spec = importlib.util.spec_from_file_location("libtorch_unpack", DEPLOY / "libtorch_unpack.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_executable(path, text):
    path.write_text(text)
    path.chmod(0o755)


class Host:
    """A stand-in machine: a PATH, a home, a cache, and checkouts with the script in them."""

    def __init__(self, root):
        self.root = root
        self.bin = root / "bin"
        self.cache = root / "cache with space"
        self.wheels = root / "fake" / "wheels"
        self.bin.mkdir()
        self.wheels.mkdir(parents=True)
        os.mkfifo(root / "fake" / "pipe")
        for tool in TOOLS + ["cp"]:
            (self.bin / tool).symlink_to(shutil.which(tool))
        python = FAKE_PYTHON.replace("@PYTHON@", sys.executable)
        write_executable(self.bin / "python3", python.replace("@BASH@", shutil.which("bash")))
        self.sums = {}
        self.add_wheel("torch", TORCH_FILES)
        for package in self.pinned_packages():
            default = (f"nvidia/cu13/lib/lib{package}.so.1",)
            if package != "torch":
                self.add_wheel(package, NVIDIA_FILES.get(package, default))

    @staticmethod
    def pinned_packages():
        text = (DEPLOY / "libtorch.sh").read_text()
        rows = re.findall(r"^([a-z0-9-]+) \S+ manylinux\S+ [0-9a-f]{64}", text, re.MULTILINE)
        assert len(rows) == 16, rows
        return rows

    def add_wheel(self, package, names):
        path = self.wheels / f"{package}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                text = f"__version__ = '{VERSION}+cu130'\n" if name.endswith("version.py") else name
                archive.writestr(name, text)
        self.sums[package] = hashlib.sha256(path.read_bytes()).hexdigest()

    def checkout(self, name="checkout"):
        deploy = self.root / name / "deploy"
        deploy.mkdir(parents=True)
        shutil.copy(DEPLOY / "libtorch_unpack.py", deploy)
        text = (DEPLOY / "libtorch.sh").read_text()
        for package, digest in self.sums.items():
            row = re.compile(rf"^({package} \S+ \S+) [0-9a-f]{{64}}", re.MULTILINE)
            text = row.sub(rf"\1 {digest}", text)
        write_executable(deploy / "libtorch.sh", text)
        return self.root / name

    def environment(self, **extra):
        env = {
            "PATH": str(self.bin),
            "HOME": str(self.root),
            "GRADSWEEP_CACHE": str(self.cache),
            "FAKE_DIR": str(self.root / "fake"),
        }
        env.update(extra)
        return {key: value for key, value in env.items() if value is not None}

    def start(self, checkout, *args, **extra):
        return subprocess.Popen(
            [str(checkout / "deploy" / "libtorch.sh"), *args],
            env=self.environment(**extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, checkout, *args, **extra):
        process = self.start(checkout, *args, **extra)
        stdout, stderr = process.communicate(timeout=DEADLINE_SECONDS)
        assert stdout == "", f"messages belong on stderr: {stdout}"
        return process.returncode, stderr

    def pip_calls(self):
        path = self.root / "fake" / "pip-calls"
        return path.read_text().split() if path.exists() else []

    def release_pip(self):
        with (self.root / "fake" / "pipe").open("w") as pipe:
            pipe.write("go\n")


def make_libtorch(folder, version_file, text):
    (folder / "lib").mkdir(parents=True)
    for name in ("libtorch_cpu.so", "libc10.so", "libtorch.so"):
        (folder / "lib" / name).write_text("library")
    header = folder / "include/torch/csrc/api/include/torch/torch.h"
    header.parent.mkdir(parents=True)
    header.write_text("")
    (folder / version_file).parent.mkdir(parents=True, exist_ok=True)
    (folder / version_file).write_text(text)
    return folder


class Case(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.host = Host(pathlib.Path(holder.name).resolve())
        self.folder = self.host.cache / f"libtorch-{VERSION}-cpu"

    def fails(self, result, *phrases):
        status, stderr = result
        self.assertEqual(status, 1, stderr)
        errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
        self.assertEqual(len(errors), 1, stderr)
        for phrase in phrases:
            self.assertIn(phrase, errors[0])

    def succeeds(self, result, *phrases):
        status, stderr = result
        self.assertEqual(status, 0, stderr)
        for phrase in phrases:
            self.assertIn(phrase, stderr)

    def cache_names(self):
        return sorted(path.name for path in self.host.cache.iterdir())

    def wait_for(self, what, condition):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"never saw {what}")
            time.sleep(0.01)


class SetUp(Case):
    def test_makes_the_cpu_folder_and_links_it(self):
        checkout = self.host.checkout()
        self.succeeds(self.host.run(checkout), "fetching torch", "unpacked", "is ready")
        self.assertEqual((checkout / ".libtorch").resolve(), self.folder)
        libraries = sorted(path.name for path in (self.folder / "lib").iterdir())
        self.assertEqual(
            libraries,
            sorted(
                "libtorch.so libtorch_cpu.so libc10.so libgomp.so.1 libgomp.so"
                " libcudart.so.13 libcupti.so.13".split()
            ),
        )
        self.assertEqual((self.folder / "lib/libtorch.so").read_text(), "INPUT(libtorch_cpu.so)\n")
        self.assertTrue((self.folder / "include/c10/core/Device.h").is_file())
        self.assertEqual((self.folder / "build-version").read_text(), f"{VERSION}+cpu\n")
        self.assertTrue((self.folder / "licenses/torch/licenses/LICENSE").is_file())
        self.assertFalse((self.folder / "nn").exists())
        self.assertEqual(
            self.cache_names(), [f"libtorch-{VERSION}-cpu", f"libtorch-{VERSION}-cpu.lock"]
        )

    def test_a_second_run_does_nothing(self):
        checkout = self.host.checkout()
        self.succeeds(self.host.run(checkout))
        calls = self.host.pip_calls()
        self.succeeds(self.host.run(checkout, FAKE_PIP="network"), "is ready")
        self.assertEqual(self.host.pip_calls(), calls)

    def test_another_checkout_shares_the_cache(self):
        self.succeeds(self.host.run(self.host.checkout("one")))
        two = self.host.checkout("two")
        self.succeeds(self.host.run(two, FAKE_PIP="network"), "is ready")
        self.assertEqual((two / ".libtorch").resolve(), self.folder)

    def test_the_cache_is_found_without_gradsweep_cache(self):
        checkout = self.host.checkout()
        self.succeeds(self.host.run(checkout, GRADSWEEP_CACHE=None))
        folder = self.host.root / ".cache/gradsweep" / self.folder.name
        self.assertEqual((checkout / ".libtorch").resolve(), folder)

    def test_a_damaged_cache_is_made_again(self):
        checkout = self.host.checkout()
        self.succeeds(self.host.run(checkout))
        (self.folder / "lib/libtorch_cpu.so").unlink()
        self.succeeds(self.host.run(checkout), "fetching torch")
        self.assertTrue((self.folder / "lib/libtorch_cpu.so").is_file())

    def test_a_removed_cache_is_made_again(self):
        checkout = self.host.checkout()
        self.succeeds(self.host.run(checkout))
        shutil.rmtree(self.host.cache)
        self.succeeds(self.host.run(checkout), "fetching torch")
        self.assertEqual((checkout / ".libtorch").resolve(), self.folder)

    def test_cuda_takes_every_wheel_and_stays_until_cpu_is_asked_for(self):
        checkout = self.host.checkout()
        self.succeeds(self.host.run(checkout, "--cuda"))
        self.assertEqual(self.host.pip_calls(), self.host.pinned_packages())
        cuda = self.host.cache / f"libtorch-{VERSION}-cuda"
        self.assertEqual((checkout / ".libtorch").resolve(), cuda)
        libraries = {path.name for path in (cuda / "lib").iterdir()}
        self.assertLessEqual({"libtorch_cuda.so", "libnvidia-cublas.so.1"}, libraries)
        self.assertNotIn("libtorch_python.so", libraries)
        self.assertEqual((cuda / "lib/libtorch.so").read_text(), "INPUT(libtorch_cpu.so)\n")
        self.succeeds(self.host.run(checkout))
        self.assertEqual((checkout / ".libtorch").resolve(), cuda)
        self.succeeds(self.host.run(checkout, "--cpu"))
        self.assertEqual((checkout / ".libtorch").resolve(), self.folder)

    def test_pip_is_borrowed_from_a_virtual_environment(self):
        result = self.host.run(self.host.checkout(), FAKE_PIP="none", FAKE_VENV="works")
        self.succeeds(result, "is ready")


class Races(Case):
    def test_two_at_once_fetch_once(self):
        first = self.host.start(self.host.checkout("one"), FAKE_PIP="hang")
        self.wait_for("the first pip", self.host.pip_calls)
        second = self.host.start(self.host.checkout("two"))
        self.assertIn("waiting for it", second.stderr.readline())
        self.host.release_pip()
        for process in (first, second):
            _, stderr = process.communicate(timeout=DEADLINE_SECONDS)
            self.assertEqual(process.returncode, 0, stderr)
        self.assertEqual(len(self.host.pip_calls()), 3)
        self.assertEqual((self.host.root / "two/.libtorch").resolve(), self.folder)

    def killed_in_the_second_wheel(self, kill):
        checkout = self.host.checkout()
        hang_at = "nvidia-cuda-runtime"
        process = self.host.start(checkout, FAKE_PIP="hang", FAKE_HANG_AT=hang_at)
        self.wait_for("the second pip", lambda: hang_at in self.host.pip_calls())
        kill(process)
        process.wait(timeout=DEADLINE_SECONDS)
        process.stderr.close()
        process.stdout.close()
        self.assertFalse(self.folder.exists())
        self.assertFalse((checkout / ".libtorch").exists())
        return checkout

    def test_a_killed_run_leaves_nothing_that_the_next_one_trusts(self):
        checkout = self.killed_in_the_second_wheel(
            lambda process: os.killpg(process.pid, signal.SIGKILL)
        )
        self.assertTrue([name for name in self.cache_names() if ".partial." in name])
        self.succeeds(self.host.run(checkout), "is ready")
        self.assertFalse([name for name in self.cache_names() if ".partial." in name])

    def test_a_pip_that_outlives_its_run_holds_no_lock(self):
        checkout = self.killed_in_the_second_wheel(lambda process: process.kill())
        self.succeeds(self.host.run(checkout), "is ready")
        self.host.release_pip()

    def test_an_interrupted_run_cleans_up(self):
        self.killed_in_the_second_wheel(lambda process: os.killpg(process.pid, signal.SIGTERM))
        self.assertEqual(self.cache_names(), [f"libtorch-{VERSION}-cpu.lock"])


class Existing(Case):
    def test_a_right_version_wins_whatever_file_states_it(self):
        stated = {
            "build-version": f"{VERSION}+cu130\n",
            "version.py": f"from typing import Optional\n__version__ = '{VERSION}+cu130'\n",
            "include/torch/headeronly/version.h": f'#define TORCH_VERSION \\\n  "{VERSION}"\n',
            "include/torch/csrc/api/include/torch/version.h": "#define TORCH_VERSION_MAJOR 2\n"
            "#define TORCH_VERSION_MINOR 11\n#define TORCH_VERSION_PATCH 0\n",
        }
        checkout = self.host.checkout()
        for index, (name, text) in enumerate(stated.items()):
            own = make_libtorch(self.host.root / f"own {index}", name, text)
            self.succeeds(self.host.run(checkout, LIBTORCH=str(own)), "from LIBTORCH", str(own))
            self.assertEqual((checkout / ".libtorch").resolve(), own)
        self.assertEqual(self.host.pip_calls(), [])

    def test_it_is_kept_when_the_variable_is_gone(self):
        own = make_libtorch(self.host.root / "own", "build-version", VERSION)
        checkout = self.host.checkout()
        self.succeeds(self.host.run(checkout, LIBTORCH=str(own)))
        self.succeeds(self.host.run(checkout))
        self.assertEqual((checkout / ".libtorch").resolve(), own)

    def test_a_wrong_version_is_an_error_that_names_both(self):
        own = make_libtorch(self.host.root / "own", "version.py", "__version__ = '2.12.1+cu130'\n")
        checkout = self.host.checkout()
        result = self.host.run(checkout, LIBTORCH=str(own))
        self.fails(result, str(own), "2.12.1", f"{VERSION} is needed")
        self.assertFalse((checkout / ".libtorch").is_symlink())

    def test_an_unknown_version_is_an_error(self):
        own = make_libtorch(self.host.root / "own", "README", "")
        result = self.host.run(self.host.checkout(), LIBTORCH=str(own))
        self.fails(result, "unknown version", f"{VERSION} is needed")

    def test_an_incomplete_one_is_an_error(self):
        own = make_libtorch(self.host.root / "own", "build-version", VERSION)
        (own / "lib/libc10.so").unlink()
        self.fails(self.host.run(self.host.checkout(), LIBTORCH=str(own)), "lacks", "libc10.so")

    def test_one_without_cuda_does_not_serve_cuda(self):
        own = make_libtorch(self.host.root / "own", "build-version", VERSION)
        result = self.host.run(self.host.checkout(), "--cuda", LIBTORCH=str(own))
        self.fails(result, "libtorch_cuda.so")

    def test_a_missing_folder_is_an_error(self):
        result = self.host.run(self.host.checkout(), LIBTORCH="/no/such/folder")
        self.fails(result, "/no/such/folder", "not a folder")

    def test_the_link_itself_as_libtorch_is_no_libtorch_of_the_user(self):
        checkout = self.host.checkout()
        self.succeeds(self.host.run(checkout, LIBTORCH=str(checkout / ".libtorch")), "fetching")

    def test_a_folder_in_the_place_of_the_link_is_not_replaced(self):
        checkout = self.host.checkout()
        (checkout / ".libtorch").mkdir()
        (checkout / ".libtorch/own").write_text("mine")
        self.fails(self.host.run(checkout), ".libtorch exists and is not a link")
        self.assertTrue((checkout / ".libtorch/own").is_file())


class Errors(Case):
    def test_no_python(self):
        (self.host.bin / "python3").unlink()
        self.fails(self.host.run(self.host.checkout()), "no Python 3.9 or newer", "apt install")

    def test_an_old_python(self):
        result = self.host.run(self.host.checkout(), FAKE_PYTHON_AGE="old")
        self.fails(result, "no Python 3.9 or newer")

    def test_python_names_the_one_to_use(self):
        (self.host.bin / "python3").rename(self.host.root / "own-python")
        result = self.host.run(self.host.checkout(), PYTHON=str(self.host.root / "own-python"))
        self.succeeds(result, "is ready")

    def test_no_pip(self):
        self.fails(self.host.run(self.host.checkout(), FAKE_PIP="none"), "pip", "python3-pip")
        self.assertFalse([name for name in self.cache_names() if ".partial." in name])

    def test_no_network(self):
        result = self.host.run(self.host.checkout(), FAKE_PIP="network")
        self.fails(result, "could not reach the package index", "torch 2.11.0", "LIBTORCH")
        self.assertEqual(self.cache_names(), [f"libtorch-{VERSION}-cpu.lock"])

    def test_an_index_without_the_wheel(self):
        result = self.host.run(self.host.checkout(), FAKE_PIP="absent")
        self.fails(result, "could not fetch torch 2.11.0", "mirror")

    def test_a_checksum_mismatch(self):
        checkout = self.host.checkout()
        self.host.add_wheel("nvidia-cuda-cupti", ("nvidia/cu13/lib/libcupti.so.13", "evil"))
        result = self.host.run(checkout)
        self.fails(result, "checksum of nvidia-cuda-cupti 13.0.85", "run this again")
        self.assertIn("pinned is", result[1])
        self.assertFalse(self.folder.exists())

    def test_too_little_disk_is_said_before_fetching(self):
        (self.host.bin / "df").unlink()
        row = "/dev/fake 9999999 9000000 921600 91% /"
        script = f"#!{shutil.which('bash')}\necho Filesystem 1024-blocks\necho '{row}'\n"
        write_executable(self.host.bin / "df", script)
        self.fails(self.host.run(self.host.checkout()), "not enough disk", "1200 MiB", "900 MiB")
        self.assertEqual(self.host.pip_calls(), [])

    def test_a_disk_that_fills_up_while_fetching(self):
        result = self.host.run(self.host.checkout(), FAKE_PIP="full")
        self.fails(result, "filled up while fetching", "GRADSWEEP_CACHE")

    def test_a_cache_that_cannot_be_written(self):
        self.host.cache.write_text("a file")
        result = self.host.run(self.host.checkout())
        self.fails(result, "cannot be written", "GRADSWEEP_CACHE")

    def test_another_architecture(self):
        (self.host.bin / "uname").unlink()
        script = f"#!{shutil.which('bash')}\ncase $1 in -s) echo Linux ;; *) echo aarch64 ;; esac\n"
        write_executable(self.host.bin / "uname", script)
        self.fails(self.host.run(self.host.checkout()), "x86_64", "Linux on aarch64")

    def test_wheels_that_lack_a_library(self):
        self.host.add_wheel("torch", [name for name in TORCH_FILES if "libc10.so" not in name])
        self.fails(self.host.run(self.host.checkout()), "lack a file")
        self.assertFalse(self.folder.exists())

    def test_an_unknown_argument(self):
        status, stderr = self.host.run(self.host.checkout(), "--gpu")
        self.assertEqual(status, 2)
        self.assertIn("unknown argument '--gpu'", stderr)
        self.assertIn("usage:", stderr)


class Unpack(unittest.TestCase):
    def setUp(self):
        self.module = load_unpack_module()
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.root = pathlib.Path(holder.name)
        (self.root / "wheels").mkdir()

    def unpack(self, *names):
        wheel = self.root / "wheels/torch.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name in names:
                archive.writestr(name, name)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        argv = f"unpack --sha256 {digest} --form cpu --wheels".split()
        argv += [str(self.root / "wheels"), "--dest", str(self.root / "out")]
        with unittest.mock.patch.object(sys, "argv", argv):
            with unittest.mock.patch("builtins.print"):
                return self.module.main()

    def test_a_full_disk_has_its_own_status(self):
        full = OSError(28, "No space left on device")
        with unittest.mock.patch.object(self.module.shutil, "copyfileobj", side_effect=full):
            self.assertEqual(self.unpack("torch/lib/libc10.so"), 4)

    def test_nothing_is_written_outside_the_folder(self):
        names = ("torch/lib/libc10.so", "torch/include/../../../escaped.h", "/torch/include/abs.h")
        self.assertEqual(self.unpack(*names), 0)
        files = [path.name for path in self.root.rglob("*") if path.is_file()]
        self.assertEqual(sorted(files), ["libc10.so", "torch.whl"])

    def test_a_wheel_without_libraries_is_an_error(self):
        self.assertEqual(self.unpack("torch/include/c10/core/Device.h"), 5)

    def test_an_archive_that_is_none_is_an_error(self):
        path = self.root / "wheels/torch.whl"
        path.write_text("not a zip")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        argv = f"unpack --sha256 {digest} --form cpu --wheels".split()
        argv += [str(self.root / "wheels"), "--dest", str(self.root / "out")]
        with unittest.mock.patch.object(sys, "argv", argv):
            with unittest.mock.patch("builtins.print"):
                self.assertEqual(self.module.main(), 5)


if __name__ == "__main__":
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    result = unittest.TextTestRunner(verbosity=1).run(suite)
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)

"""Tests of gpu-check: the packing, and the script's judgement, with stand-in programs.

Run by `make test`; prints `N passed, N failed` at the end.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

GPU_CHECK = pathlib.Path(__file__).resolve().parent.parent / "gpu-check"
MNIST_FILES = [
    f"{part}-{kind}-ubyte.gz"
    for part in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
]

# Stands for the trainer and the coordinator. FAKE chooses what goes wrong.
FAKE_PROGRAM = r"""#!@PYTHON@
import json, os, sys
fake, arguments = os.environ.get("FAKE", ""), sys.argv[1:]
device = arguments[arguments.index("--device") + 1] if "--device" in arguments else ""
if fake == "no-cuda" and device.startswith("cuda"):
    sys.exit("cannot open libtorch_cuda.so")
if "bench-step" in arguments:
    print(json.dumps({"median_ms": 12.5, "steps": 5}))
elif "--cohort" in arguments:
    with open(arguments[arguments.index("--cohort") + 1]) as file:
        cohort = json.load(file)
    for trial in cohort["trials"]:
        loss = 2.0 + trial["seed"] / 100
        if fake == "coupled" and len(cohort["trials"]) > 1:
            loss *= 1.001
        if fake == "nan":
            loss = float("nan")
        row = {"trial": trial["trial"], "epoch": 1, "train_loss": loss, "val_loss": loss}
        print(json.dumps(row))
        error = 0.05 if fake == "mnist" else 0.025
        print(json.dumps({"outcome": "COMPLETED", "trial": trial["trial"], "test_error": error}))
elif arguments[0] == "table":
    rows = []
    for seed in range(2):
        for activation, error in (("relu", 0.9), ("grelu", 0.5 if fake == "shallow" else 0.2)):
            row = {"trial": f"{activation}{seed}", "depth": 60, "activation": activation}
            row.update(init_gain=1, test_error=error, epoch=1, train_loss=2.0)
            rows.append(row)
    print(json.dumps(rows))
"""


def write_executable(path, text):
    path.write_text(text)
    path.chmod(0o755)


class Case(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.root = pathlib.Path(holder.name).resolve()

    def run_command(self, *command, **env):
        done = subprocess.run(
            list(map(str, command)),
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr


class Pack(Case):
    def setUp(self):
        super().setUp()
        self.tree = self.root / "tree"
        (self.tree / "deploy").mkdir(parents=True)
        shutil.copytree(GPU_CHECK, self.tree / "deploy/gpu-check")
        (self.tree / "sweeps").mkdir()
        (self.tree / "sweeps/quickstart.yaml").write_text("name: quickstart\n")
        self.programs = self.root / "programs"
        self.programs.mkdir()
        for program in ("coordinator", "worker", "trainer"):
            shutil.copy(os.path.realpath(shutil.which("true")), self.programs / program)
        self.out = self.root / "dist/gpu-check"

    def add_mnist(self, folder, size=10):
        (folder / "mnist").mkdir(parents=True)
        for name in MNIST_FILES:
            with (folder / "mnist" / name).open("wb") as file:
                file.truncate(size)

    def pack(self, **env):
        script = self.tree / "deploy/gpu-check/pack.sh"
        return self.run_command(script, self.programs, self.out, **{"GRADSWEEP_DATA": "", **env})

    def test_packs_what_the_host_needs(self):
        self.add_mnist(self.tree / "data")
        for _ in range(2):
            status, stdout, stderr = self.pack()
            self.assertEqual(status, 0, stderr)
        self.assertIn("python3 gpu-check/check.py", stdout)
        files = sorted(str(p.relative_to(self.out)) for p in self.out.rglob("*") if p.is_file())
        expected = [f"bin/{name}" for name in ("coordinator", "trainer", "worker")]
        expected += ["check.py", "sweeps/quickstart.yaml"]
        expected += [f"data/mnist/{name}" for name in MNIST_FILES]
        self.assertEqual(files, sorted(expected))
        self.assertEqual([path.name for path in self.out.parent.iterdir()], ["gpu-check"])

    def test_a_data_directory_named_in_the_environment_comes_first(self):
        self.add_mnist(self.root / "named", size=11)
        self.add_mnist(self.tree / "data")
        status, _, stderr = self.pack(GRADSWEEP_DATA=str(self.root / "named"))
        self.assertEqual(status, 0, stderr)
        self.assertEqual((self.out / "data/mnist" / MNIST_FILES[0]).stat().st_size, 11)

    def test_a_folder_over_the_limit_is_refused(self):
        self.add_mnist(self.tree / "data", size=15_000_000)
        status, _, stderr = self.pack()
        self.assertEqual(status, 1)
        self.assertIn("less than 60000000 is wanted", stderr)
        self.assertFalse(self.out.exists())

    def test_missing_data_is_an_error_that_says_where_to_put_it(self):
        status, _, stderr = self.pack()
        self.assertEqual(status, 1)
        self.assertIn("./data/mnist", stderr)

    def test_missing_programs_are_an_error(self):
        self.add_mnist(self.tree / "data")
        (self.programs / "worker").unlink()
        status, _, stderr = self.pack()
        self.assertEqual(status, 1)
        self.assertIn("make build", stderr)
        self.assertEqual(list(self.out.parent.iterdir()), [])


class Check(Case):
    def setUp(self):
        super().setUp()
        self.folder = self.root / "gpu-check"
        (self.folder / "bin").mkdir(parents=True)
        shutil.copy(GPU_CHECK / "check.py", self.folder)
        for program in ("coordinator", "trainer"):
            text = FAKE_PROGRAM.replace("@PYTHON@", sys.executable)
            write_executable(self.folder / "bin" / program, text)
        self.libtorch = self.root / "libtorch"
        (self.libtorch / "lib").mkdir(parents=True)
        for name in ("libtorch_cpu.so", "libtorch_cuda.so"):
            (self.libtorch / "lib" / name).write_text("")
        (self.libtorch / "build-version").write_text("2.11.0+cu130\n")

    def check(self, *arguments, fake=""):
        script = self.folder / "check.py"
        env = {"FAKE": fake, "LIBTORCH": str(self.libtorch)}
        return self.run_command(sys.executable, script, *arguments, **env)

    def test_a_sound_host_passes_and_everything_is_measured(self):
        status, stdout, stderr = self.check()
        self.assertEqual(status, 0, stdout + stderr)
        self.assertIn("23 passed, 0 failed, 0 not measured", stdout)
        self.assertIn("depth 100:    12.500 ms", stdout)
        self.assertEqual((self.folder / "report.txt").read_text(), stdout)

    def test_without_a_gpu_the_rest_is_said_to_be_not_measured(self):
        status, stdout, stderr = self.check("--devices", "cpu")
        self.assertEqual(status, 0, stdout + stderr)
        self.assertIn("not measured: a step on a GPU: no CUDA device was asked for", stdout)
        self.assertIn("0 failed, 4 not measured", stdout)

    def test_a_gpu_that_cannot_be_used_fails_and_the_cpu_is_still_measured(self):
        status, stdout, _ = self.check(fake="no-cuda")
        self.assertEqual(status, 1)
        self.assertIn("FAIL: cuda:0 can be used: ", stdout)
        self.assertIn("cannot open libtorch_cuda.so", stdout)
        self.assertIn("pass: cpu can be used", stdout)
        self.assertIn("not measured: losses against the CPU of a GPU: none can be used", stdout)

    def test_each_wrong_result_is_seen(self):
        cases = {
            "coupled": "FAIL: largest relative difference 9.99e-04, at most 1e-04",
            "nan": "FAIL: largest relative difference inf",
            "mnist": "FAIL: mean test error 5.00%",
            "shallow": "FAIL: cpu: depth 60 GReLU test error 50.0%",
        }
        for fake, expected in cases.items():
            status, stdout, _ = self.check("--devices", "cpu", fake=fake)
            self.assertEqual(status, 1, fake)
            self.assertIn(expected, stdout)

    def test_a_program_that_is_missing_fails_its_sections_alone(self):
        (self.folder / "bin/coordinator").unlink()
        status, stdout, _ = self.check("--devices", "cpu")
        self.assertEqual(status, 1)
        self.assertIn("FAIL: the quickstart: CheckError: coordinator cannot be started", stdout)
        self.assertIn("pass: largest relative difference", stdout)

    def test_no_libtorch_is_an_error_that_names_the_version(self):
        (self.libtorch / "build-version").write_text("2.9.1\n")
        status, _, stderr = self.check()
        self.assertEqual(status, 2)
        self.assertIn("no libtorch 2.11.0 with CUDA", stderr)
        self.assertIn("2.9.1", stderr)

    def test_a_wrong_device_is_a_mistake(self):
        status, _, stderr = self.check("--devices", "gpu")
        self.assertEqual(status, 2)
        self.assertIn("`gpu` is not a device", stderr)


if __name__ == "__main__":
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    result = unittest.TextTestRunner(verbosity=1).run(suite)
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)

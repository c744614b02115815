#!/usr/bin/env python3
"""Tests of gradsweep_model: a tiny sweep of every model family by the real programs, then PyTorch
reaches the test error of each model that was kept.

Run by `make test`; skips where torch, the data sets or the programs are missing. Prints
`N passed, N failed` at the end.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
PROGRAMS = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
DATA = pathlib.Path(os.environ.get("GRADSWEEP_DATA", ROOT.parent / "shared" / "data"))
# Images that float order may put on the other side of a decision.
TOLERANCE = 1e-3
LOSS_TOLERANCE = 1e-4
WAIT_S = 1200

TINY = "epochs: 1, batch_size: 50, train_examples: 1000, val_examples: 200, lr: 0.005, select: any"
EVERY = """
activation: [relu, leaky_relu, very_leaky_relu, prelu, rrelu, grelu, inverse_grelu, identity]
""".strip()
# The gate stays below 1: at either end of it half of a gradual component is not computed.
SWEEPS = {
    "py-mlp": f"""
model: mlp
data: mnist
base: {{width: 16, depth: 3, tau: 3, {TINY}}}
grid: {{{EVERY}}}
keep: all
""",
    "py-rnn": f"""
model: rnn
data: mnist
base: {{width: 16, tau: 3, {TINY}}}
grid: {{depth: [1, 2], activation: [relu, grelu, prelu]}}
keep: all
""",
    "py-cnn": f"""
model: cnn
data: mnist
base: {{width: 4, tau: 3, augment_flip: false, init: he, dropout: none, {TINY}}}
grid:
  - {{conv: [plain, identity_to_conv, conv_to_nin, nin, highway]}}
  - {{pooling: [mean, average, mixed, gated, gradual]}}
  - {{norm: [batch, gradual_batch], activation: [relu, prelu]}}
keep: all
""",
    "py-cifar": f"""
model: cnn
data: cifar10
base: {{width: 4, norm: batch, {TINY}}}
keep: all
""",
    "py-stn": f"""
model: stn
data: cluttered-mnist
base: {{tau: 3, init: he, {TINY}}}
grid: {{transformer: [none, affine, gradual]}}
keep: all
""",
    "py-best": f"""
model: mlp
data: mnist
base: {{width: 16, tau: 0, {TINY}}}
grid: {{depth: [1, 2]}}
seeds: 3
""",
    "py-none": f"""
model: mlp
data: mnist
base: {{width: 8, depth: 1, tau: 0, {TINY}}}
keep: none
""",
}


def missing():
    """Why this cannot run here; none where it can."""
    try:
        import torch  # noqa: F401
    except ImportError:
        return f"{sys.executable} has no torch"
    for program in ("coordinator", "worker", "trainer"):
        if not (PROGRAMS / program).is_file():
            return f"{PROGRAMS / program} is not built"
    for folder in ("mnist", "cifar-10"):
        if not (DATA / folder).is_dir():
            return f"{DATA / folder} is not there (GRADSWEEP_DATA names another place)"
    return None


class Models(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(cls.folder.name)
        cls.state = folder / "state"
        command = ["--local", "--exit-when-done", "--data", DATA]
        command += ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        for name, text in SWEEPS.items():
            file = folder / f"{name}.yaml"
            file.write_text(f"name: {name}{text}")
            command += ["--sweep", file]
        done = cls.coordinator(*command)
        if done.returncode != 0:
            log = cls.state / "worker" / "worker.log"
            text = log.read_text() if log.is_file() else ""
            raise AssertionError(f"the sweeps failed:\n{done.stderr}\n{text}")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def coordinator(cls, *arguments):
        command = [PROGRAMS / "coordinator", "--state", cls.state, *arguments]
        command = [str(argument) for argument in command]
        return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)

    def asked(self, *arguments):
        done = self.coordinator(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def trials(self, sweep):
        rows = json.loads(self.asked("table", sweep, "--trials", "--format", "json").stdout)
        return rows

    def pulled(self, sweep, *arguments):
        file = pathlib.Path(self.folder.name) / "pulled.safetensors"
        said = self.asked("model", sweep, *arguments, "-o", file).stderr
        return file, said

    def check_family(self, sweep):
        import gradsweep_model

        trials = self.trials(sweep)
        images = labels = None
        for row in trials:
            file, _ = self.pulled(sweep, "--trial", row["trial"])
            model = gradsweep_model.load(file)
            self.assertEqual(model.metadata["trial"], row["trial"])
            if images is None:
                images, labels = gradsweep_model.test_set(model.metadata["data"], DATA)
            wrong, loss = model.evaluate(images, labels)
            expected = row["test_error"] * len(labels)
            with self.subTest(sweep=sweep, params=model.metadata["params"]):
                self.assertAlmostEqual(expected, round(expected), places=6)
                self.assertLessEqual(abs(wrong - expected), TOLERANCE * len(labels))
                # Also of a net that names every image alike it tells whether it is the same one.
                self.assertAlmostEqual(loss / row["test_loss"], 1, delta=LOSS_TOLERANCE)
            print(f"{sweep} {row['trial']}: {wrong} of {len(labels)} wrong, {expected:.0f} there")
        return trials

    def test_mlps_with_every_activation_reach_their_test_error(self):
        self.assertEqual(len(self.check_family("py-mlp")), 8)

    def test_recurrent_nets_reach_their_test_error(self):
        self.assertEqual(len(self.check_family("py-rnn")), 6)

    def test_convolutional_nets_with_every_component_reach_their_test_error(self):
        self.assertEqual(len(self.check_family("py-cnn")), 14)

    def test_cifar_reaches_its_test_error(self):
        self.assertEqual(len(self.check_family("py-cifar")), 1)

    def test_spatial_transformers_reach_their_test_error(self):
        self.assertEqual(len(self.check_family("py-stn")), 3)

    def test_the_best_of_each_config_is_kept_and_the_best_of_all_is_pulled(self):
        trials = self.trials("py-best")
        self.assertEqual(len(trials), 6)
        best = {}
        for row in sorted(trials, key=lambda row: row["val_error"]):
            best.setdefault(row["depth"], row["val_error"])
        kept = [row for row in trials if self.is_kept("py-best", row["trial"])]
        self.assertEqual({row["depth"]: row["val_error"] for row in kept}, best)
        self.assertEqual(len(kept), 2)
        file, said = self.pulled("py-best", "--best")
        least = min(kept, key=lambda row: row["val_error"])
        self.assertIn(f"trial {least['trial']}, attempt 1, val_error ", said)
        script = [sys.executable, HERE / "gradsweep_model.py", file, "--data", DATA]
        printed = subprocess.run(script, capture_output=True, text=True, timeout=WAIT_S)
        self.assertEqual(printed.returncode, 0, printed.stderr)
        answer = json.loads(printed.stdout)
        self.assertAlmostEqual(answer["test_error"], least["test_error"], delta=TOLERANCE)
        other = next(row for row in trials if row not in kept)
        refused = self.coordinator("model", "py-best", "--trial", other["trial"], "-o", file)
        self.assertEqual(refused.returncode, 2)
        self.assertIn("keeps those of the best trial of each config, here ", refused.stderr)

    def is_kept(self, sweep, trial):
        answer = json.loads(self.asked("trial", sweep, trial, "--format", "json").stdout)
        return answer["weights_bytes"] is not None

    def test_nothing_is_kept_where_the_sweep_says_so(self):
        refused = self.coordinator("model", "py-none", "-o", self.folder.name + "/none")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("it keeps none (`keep: none`)", refused.stderr)
        self.assertFalse(os.path.exists(self.folder.name + "/none"))

    def test_nothing_is_left_with_the_worker(self):
        left = [path for path in self.state.rglob("weights/*") if path.parent.parent != self.state]
        self.assertEqual(left, [])


class Files(unittest.TestCase):
    def test_what_is_no_kept_model_is_refused(self):
        import gradsweep_model

        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "other.safetensors"
            header = b'{"__metadata__": {"format": "pt"}}'
            file.write_bytes(len(header).to_bytes(8, "little") + header)
            with self.assertRaisesRegex(ValueError, "has the format 'pt'"):
                gradsweep_model.load(file)
            for content in [b"", b"\x89PNG\r\n\x1a\n" + bytes(90), b"\x02" + bytes(7) + b"[]"]:
                file.write_bytes(content)
                with self.assertRaisesRegex(ValueError, "is no safetensors file"):
                    gradsweep_model.load(file)
            header = b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'
            file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
            with self.assertRaisesRegex(ValueError, "is not whole"):
                gradsweep_model.load(file)


def main():
    reason = missing()
    if reason:
        print(f"skipped: {reason}")
        return
    sys.path.insert(0, str(HERE))
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

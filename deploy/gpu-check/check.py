#!/usr/bin/env python3
"""Checks GradSweep on a GPU host and prints one report; needs Python 3.9, no Rust.

    python3 check.py                   # cuda:0 and the CPU
    python3 check.py --devices cpu     # the CPU alone; what needs a GPU is said to be not measured

libtorch 2.11.0 is taken from LIBTORCH, from this Python's torch package, or from the checkout that
this folder lies in. The report also goes to report.txt beside this file. Exit status: 0 every
check passed, 1 one failed or a device could not be used, 2 a mistake in what was asked.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
VERSION = "2.11.0"
# Generous: a slow host should report a slow time, not none.
COMMAND_SECONDS_MAX = 900

WIDTH, BATCH = 512, 500
STEP_DEPTHS = (8, 20, 100)
COHORT_SIZE = 16
CNN_WIDTH, CNN_BATCH = 96, 256
CNN_COHORT_SIZES = (1, 2, 4)
# Twenty steps: one epoch of this many examples in batches of 100.
SHORT_EXAMPLES = 2000
# Rounding alone, over twenty steps in fp32: between devices, and in a cohort against solo.
DEVICE_DIFFERENCE_MAX = 1e-3
COHORT_DIFFERENCE_MAX = 1e-4
# A whole first epoch amplifies rounding, in deep nets most.
EPOCH_DIFFERENCE_MAX = 0.05
MNIST_ERROR_MAX = 0.027
DEEP_GRELU_ERROR_MAX = 0.25
DEEP_RELU_ERROR_MIN = 0.80


class CheckError(Exception):
    """Why something could not be measured."""


class Report:
    """Lines for the reader, printed as they come, and the count of what passed."""

    def __init__(self):
        self.lines = []
        self.passed, self.failed, self.missing = 0, 0, 0

    def line(self, text=""):
        self.lines.append(text)
        print(text, flush=True)

    def section(self, title):
        self.line()
        self.line(f"## {title}")

    def check(self, holds, text):
        self.passed, self.failed = self.passed + bool(holds), self.failed + (not holds)
        self.line(f"{'pass' if holds else 'FAIL'}: {text}")

    def not_measured(self, what, why):
        self.missing += 1
        self.line(f"not measured: {what}: {why}")

    def close(self):
        self.line()
        self.line(f"{self.passed} passed, {self.failed} failed, {self.missing} not measured")


class Programs:
    """The packed programs, run with libtorch on their library path."""

    def __init__(self, libtorch, scratch, here=HERE):
        self.here, self.scratch = here, pathlib.Path(scratch)
        self.env = dict(os.environ)
        for name in ("GRADSWEEP_DATA", "GRADSWEEP_DEVICES", "GRADSWEEP_SLOTS_PER_DEVICE"):
            self.env.pop(name, None)
        self.env["LIBTORCH"] = str(libtorch)
        self.env["LD_LIBRARY_PATH"] = library_path(libtorch, os.environ.get("LD_LIBRARY_PATH"))

    def run(self, program, *arguments, **env):
        command = [str(self.here / "bin" / program), *map(str, arguments)]
        try:
            done = subprocess.run(
                command,
                cwd=self.scratch,
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                timeout=COMMAND_SECONDS_MAX,
            )
        except subprocess.TimeoutExpired:
            raise CheckError(f"{program} did not end within {COMMAND_SECONDS_MAX} s") from None
        except OSError as error:
            raise CheckError(f"{program} cannot be started: {error}") from None
        if done.returncode != 0:
            tail = " | ".join(done.stderr.strip().splitlines()[-3:])
            raise CheckError(f"{program} ended with status {done.returncode}: {tail}")
        return done.stdout

    def train(self, device, data, trials, model="mlp"):
        """Trains one cohort; the epoch reports and the outcome of each trial, by its name."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            description = pathlib.Path(folder, "cohort.json")
            cohort = {"model": model, "data": data, "trials": trials}
            description.write_text(json.dumps(cohort))
            options = ["--device", device, "--checkpoints", folder, "--data", self.here / "data"]
            text = self.run("trainer", *options, "--cohort", description)
        epochs, outcomes = {}, {}
        for row in map(json.loads, text.splitlines()):
            if "outcome" in row:
                outcomes[row["trial"]] = row
            else:
                epochs.setdefault(row["trial"], []).append(row)
        names = [trial["trial"] for trial in trials]
        if sorted(outcomes) != sorted(names):
            raise CheckError(f"{len(outcomes)} of {len(names)} trials on {device} have an outcome")
        return epochs, outcomes

    def step_ms(self, device, depth, cohort_size, steps):
        shape = ["--width", WIDTH, "--batch", BATCH, "--depth", depth]
        shape += ["--cohort-size", cohort_size, "--steps", steps]
        text = self.run("trainer", "--device", device, "bench-step", *shape)
        return json.loads(text)["median_ms"]

    def cnn_step_ms(self, device, cohort_size, steps):
        shape = ["--model", "cnn", "--width", CNN_WIDTH, "--batch", CNN_BATCH]
        shape += ["--cohort-size", cohort_size, "--steps", steps]
        text = self.run("trainer", "--device", device, "bench-step", *shape)
        return json.loads(text)["median_ms"]

    def quickstart(self, device):
        """Runs the sweep in fresh state; its trials and its epochs as rows."""
        state = self.scratch / f"quickstart-{device.replace(':', '-')}"
        serve = ["--sweep", self.here / "sweeps/quickstart.yaml", "--local", "--exit-when-done"]
        serve += ["--state", state, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        started = time.monotonic()
        self.run("coordinator", *serve, GRADSWEEP_DEVICES=device)
        seconds = time.monotonic() - started
        table = ["table", "quickstart", "--format", "json", "--state", state]
        trials = json.loads(self.run("coordinator", *table, "--trials"))
        epochs = json.loads(self.run("coordinator", *table, "--epochs"))
        return seconds, trials, epochs


def library_path(libtorch, inherited):
    """libtorch's own folder, the NVIDIA wheels beside it, then what was there."""
    libtorch = pathlib.Path(libtorch).resolve()
    folders = [libtorch / "lib", *sorted((libtorch.parent / "nvidia").glob("*/lib"))]
    return os.pathsep.join([*map(str, folders), *([inherited] if inherited else [])])


def version_of(folder):
    for name in ("build-version", "version.py"):
        path = folder / name
        if path.is_file():
            found = re.search(r"\d+\.\d+\.\d+", path.read_text())
            return found.group() if found else None
    return None


def find_libtorch(cuda, here=HERE):
    """The first libtorch of the right version, with CUDA where that is needed."""
    candidates = []
    if os.environ.get("LIBTORCH"):
        candidates.append(pathlib.Path(os.environ["LIBTORCH"]))
    try:
        torch = importlib.metadata.distribution("torch")
        candidates.append(pathlib.Path(torch.locate_file("torch")))
    except importlib.metadata.PackageNotFoundError:
        pass
    candidates.append(here.parent.parent / ".libtorch")
    wanted = "libtorch_cuda.so" if cuda else "libtorch_cpu.so"
    seen = []
    for folder in candidates:
        version = version_of(folder)
        if version == VERSION and (folder / "lib" / wanted).is_file():
            return folder
        if folder.is_dir():
            seen.append(f"{folder} ({version or 'version unknown'}, no {wanted} of {VERSION})")
    raise CheckError(
        f"no libtorch {VERSION}{' with CUDA' if cuda else ''}: set LIBTORCH to one, or run this"
        f" with a Python that has torch {VERSION}. Seen: {', '.join(seen) or 'none'}"
    )


def difference(a, b):
    """Relative, and infinite where one of them is not a number."""
    if a is None or b is None or a != a or b != b:
        return float("inf")
    return abs(a - b) / max(abs(a), abs(b), 1e-12)


def largest_difference(one, other):
    """Between the losses of two runs of the same trials: epochs by trial."""
    if sorted(one) != sorted(other):
        raise CheckError("the two runs report different trials")
    pairs = [
        (row[key], same[key])
        for trial in one
        for row, same in zip(one[trial], other[trial])
        for key in ("train_loss", "val_loss")
    ]
    return max(difference(a, b) for a, b in pairs)


def short_trials():
    """Trials that differ in all that may differ within a cohort, for twenty steps each."""
    activations = ("relu", "grelu", "leaky_relu", "inverse_grelu")
    trials = []
    for index in range(COHORT_SIZE):
        params = {"depth": (2, 5, 10)[index % 3], "activation": activations[index % 4]}
        params.update(width=128, batch_size=100, epochs=1, lr=3e-4, clip_norm=1.0)
        params.update(train_examples=SHORT_EXAMPLES, select="any", gate_per="step")
        if "grelu" in params["activation"]:
            params["tau"] = 1 + index % 5
        if index % 2:
            params.update(dropout="static", p=0.2)
        trials.append({"trial": f"{index:016x}", "seed": index, "params": params})
    return trials


def family_trials():
    """By model: its data set, and trials of one cohort in which something is gradual."""
    base = {"batch_size": 50, "epochs": 1, "train_examples": 1000, "val_examples": 500}
    base.update(select="any", tau=2, patience=None)

    def trials(*own):
        return [
            {"trial": f"{index:016x}", "seed": index, "params": {**base, **params}}
            for index, params in enumerate(own)
        ]

    cnn = {"width": 16, "augment_flip": False}
    conv = {**cnn, "conv": "identity_to_conv", "pooling": "gradual"}
    norm = {**cnn, "norm": "gradual_batch", "activation": "leaky_relu"}
    stn = {"stn_init": "small_normal"}
    return [
        ("cnn", "strokes", trials(conv, {**conv, "activation": "grelu"}, {**cnn, "p": 0.1})),
        ("cnn", "strokes", trials(norm, {**norm, "norm": "batch"})),
        ("rnn", "strokes", trials({"width": 64, "activation": "grelu"}, {"width": 64})),
        ("stn", "cluttered-mnist", trials({**stn, "transformer": "gradual"}, stn)),
    ]


def mnist_trials():
    params = {"depth": 2, "width": 512, "activation": "relu", "batch_size": 500}
    params.update(epochs=5, lr=1e-3, patience=None)
    return [{"trial": f"{seed:016x}", "seed": seed, "params": params} for seed in range(3)]


def host_section(report, libtorch):
    report.line("# GradSweep check")
    report.line(f"time: {time.strftime('%Y-%m-%d %H:%M:%S %z')}")
    report.line(f"host: {platform.platform()}, {os.cpu_count()} CPUs")
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        gpus = subprocess.run(query, capture_output=True, text=True, timeout=60).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        gpus = ""
    report.line(f"GPUs: {gpus.replace(chr(10), '; ') or 'nvidia-smi names none'}")
    report.line(f"libtorch: {libtorch}")


def usable_devices(report, programs, devices):
    """The devices on which one step can be done; the others are reported and left out."""
    report.section("devices")
    usable = []
    for device in devices:
        try:
            programs.step_ms(device, depth=2, cohort_size=1, steps=1)
        except CheckError as error:
            report.check(False, f"{device} can be used: {error}")
            continue
        report.check(True, f"{device} can be used")
        usable.append(device)
    return usable


def losses_section(report, programs, cuda, cpu):
    report.section(f"losses of {COHORT_SIZE} trials over 20 steps, {cuda} against {cpu}")
    on_cuda, _ = programs.train(cuda, "strokes", short_trials())
    on_cpu, _ = programs.train(cpu, "strokes", short_trials())
    worst = largest_difference(on_cuda, on_cpu)
    limit = DEVICE_DIFFERENCE_MAX
    report.check(worst <= limit, f"largest relative difference {worst:.2e}, at most {limit:.0e}")


def cohort_section(report, programs, device):
    report.section(f"a cohort of {COHORT_SIZE} against each trial alone on {device}")
    together, _ = programs.train(device, "strokes", short_trials())
    alone = {}
    for trial in short_trials():
        alone.update(programs.train(device, "strokes", [trial])[0])
    worst = largest_difference(together, alone)
    limit = COHORT_DIFFERENCE_MAX
    report.check(worst <= limit, f"largest relative difference {worst:.2e}, at most {limit:.0e}")


def families_section(report, programs, cuda, cpu):
    report.section(f"the other models over 20 steps, {cuda} against {cpu}")
    for model, data, trials in family_trials():
        on_cuda, _ = programs.train(cuda, data, trials, model)
        on_cpu, _ = programs.train(cpu, data, trials, model)
        worst = largest_difference(on_cuda, on_cpu)
        limit = DEVICE_DIFFERENCE_MAX
        text = f"{model}: largest relative difference {worst:.2e}, at most {limit:.0e}"
        report.check(worst <= limit, text)


def family_cohorts_section(report, programs, device):
    report.section(f"cohorts of the other models against each trial alone on {device}")
    for model, data, trials in family_trials():
        together, _ = programs.train(device, data, trials, model)
        alone = {}
        for trial in trials:
            alone.update(programs.train(device, data, [trial], model)[0])
        worst = largest_difference(together, alone)
        limit = COHORT_DIFFERENCE_MAX
        text = f"{model}: largest relative difference {worst:.2e}, at most {limit:.0e}"
        report.check(worst <= limit, text)


def cnn_steps_section(report, programs, device):
    report.section(f"one CNN step on {device}: width {CNN_WIDTH}, batch {CNN_BATCH}, fp32")
    solo_ms = None
    for size in CNN_COHORT_SIZES if device != "cpu" else CNN_COHORT_SIZES[:1]:
        step_ms = programs.cnn_step_ms(device, size, 2 if device == "cpu" else 20)
        solo_ms = solo_ms or step_ms
        gain = size * solo_ms / step_ms
        report.line(f"cohort of {size}: {step_ms:9.3f} ms, {gain:.2f} times solo's examples/s")


def steps_section(report, programs, device):
    report.section(f"one training step on {device}: width {WIDTH}, batch {BATCH}, fp32, one thread")
    steps = 5 if device == "cpu" else 50
    solo_ms = {}
    for depth in STEP_DEPTHS:
        solo_ms[depth] = programs.step_ms(device, depth, 1, steps)
        report.line(f"depth {depth:3}: {solo_ms[depth]:9.3f} ms")
    depth = STEP_DEPTHS[0]
    cohort_ms = programs.step_ms(device, depth, COHORT_SIZE, min(steps, 20))
    gain = COHORT_SIZE * solo_ms[depth] / cohort_ms
    cohort = f"a cohort of {COHORT_SIZE}, {gain:.2f} times a solo trial's examples per second"
    report.line(f"depth {depth:3}: {cohort_ms:9.3f} ms for {cohort}")


def cells(trials):
    """Mean test error by depth, activation and gain."""
    found = {}
    for row in trials:
        key = (int(row["depth"]), row["activation"], float(row.get("init_gain") or 1))
        found.setdefault(key, []).append(row.get("test_error"))
    means = {}
    for key, errors in sorted(found.items()):
        known = [error for error in errors if error is not None]
        means[key] = statistics.mean(known) if known else None
    return means


def quickstart_claims(report, device, means):
    deepest = max(depth for depth, _, _ in means)
    grelu, relu = means.get((deepest, "grelu", 1.0)), means.get((deepest, "relu", 1.0))
    holds = grelu is not None and grelu < DEEP_GRELU_ERROR_MAX
    where = f"{device}: depth {deepest}"
    report.check(holds, f"{where} GReLU test error {percent(grelu)}, under 25%")
    # A diverged net has no test error and does not train either.
    holds = relu is None or relu > DEEP_RELU_ERROR_MIN
    report.check(holds, f"{where} gain-1 ReLU test error {percent(relu)}, over 80%")


def percent(fraction):
    return "none" if fraction is None else f"{100 * fraction:.1f}%"


def first_losses(epochs):
    return {row["trial"]: row["train_loss"] for row in epochs if row["epoch"] == 1}


def quickstart_section(report, programs, devices):
    report.section("the quickstart sweep")
    means, losses = {}, {}
    for device in devices:
        seconds, trials, epochs = programs.quickstart(device)
        report.line(f"{device}: {len(trials)} trials in {seconds:.1f} s")
        means[device], losses[device] = cells(trials), first_losses(epochs)
        quickstart_claims(report, device, means[device])
    report.line(f"test error: depth, activation, gain: {', '.join(devices)}")
    for key in means[devices[0]]:
        row = [percent(means[device].get(key)) for device in devices]
        report.line(f"  {key[0]:3} {key[1]:6} {key[2]:.3f}: {', '.join(row)}")
    if len(devices) < 2:
        return
    one, other = (losses[device] for device in devices[:2])
    if not one or sorted(one) != sorted(other):
        raise CheckError("the two runs have different trials")
    middle = statistics.median(difference(one[trial], other[trial]) for trial in one)
    text = f"first epoch's loss: median difference {middle:.2e}, at most {EPOCH_DIFFERENCE_MAX}"
    report.check(middle <= EPOCH_DIFFERENCE_MAX, text)


def mnist_section(report, programs, device):
    report.section(f"MNIST, two layers of 512 ReLU, 5 epochs, three seeds, on {device}")
    programs.run("coordinator", "data", "check", "mnist", "--data", programs.here / "data")
    started = time.monotonic()
    _, outcomes = programs.train(device, "mnist", mnist_trials())
    seconds = time.monotonic() - started
    errors = [row["test_error"] for row in outcomes.values()]
    if None in errors:
        raise CheckError("a trial has no test error")
    mean = statistics.mean(errors)
    limit = f"at most {100 * MNIST_ERROR_MAX:.1f}%"
    report.check(
        mean <= MNIST_ERROR_MAX, f"mean test error {100 * mean:.2f}%, {limit}, in {seconds:.0f} s"
    )


def measure(report, programs, devices):
    """Every section by itself, so that one that fails leaves the others."""
    usable = usable_devices(report, programs, devices)
    cuda = next((device for device in usable if device != "cpu"), None)
    sections = [("MNIST", usable[:1], mnist_section)]
    sections += [(f"a step on {device}", [device], steps_section) for device in usable]
    sections += [(f"a CNN step on {device}", [device], cnn_steps_section) for device in usable]
    sections += [(f"a cohort on {device}", [device], cohort_section) for device in usable]
    sections += [
        (f"other cohorts on {device}", [device], family_cohorts_section) for device in usable
    ]
    if cuda and "cpu" in usable:
        sections.append(("losses on both devices", [cuda, "cpu"], losses_section))
        sections.append(("other models on both devices", [cuda, "cpu"], families_section))
    sections.append(("the quickstart", [usable], quickstart_section))
    for what, arguments, section in sections if usable else []:
        try:
            section(report, programs, *arguments)
        except (CheckError, KeyError, ValueError) as error:
            report.check(False, f"{what}: {type(error).__name__}: {error}")
    if cuda is None:
        report.section("without a GPU")
        why = "no CUDA device was asked for" if devices == ["cpu"] else "none can be used"
        for what in ("a step on", "a cohort on", "the quickstart on", "losses against the CPU of"):
            report.not_measured(f"{what} a GPU", why)
    elif "cpu" not in usable:
        why = "the CPU was not asked for or cannot be used"
        report.not_measured("losses against the CPU of a GPU", why)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", default="cuda:0,cpu", help="default: %(default)s")
    parser.add_argument("--report", type=pathlib.Path, default=HERE / "report.txt")
    arguments = parser.parse_args()
    devices = [device.strip() for device in arguments.devices.split(",")]
    for device in devices:
        if not re.fullmatch(r"cpu|cuda:\d+", device):
            parser.error(f"--devices: `{device}` is not a device: `cpu` or `cuda:N` is accepted")
    report = Report()
    try:
        libtorch = find_libtorch(cuda=devices != ["cpu"])
    except CheckError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    host_section(report, libtorch)
    with tempfile.TemporaryDirectory(prefix="gradsweep-check-") as scratch:
        measure(report, Programs(libtorch, scratch), devices)
    report.close()
    arguments.report.write_text("\n".join(report.lines) + "\n")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())

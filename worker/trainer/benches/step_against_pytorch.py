#!/usr/bin/env python3
"""The trainer's solo fp32 training step against the same step in PyTorch eager.

Both do the paper's MLP (width 512, batch 500) with Adam's defaults on random images, with one
thread and denormals flushed to zero, in turns, so that a busy machine slows both alike.

    python3 worker/trainer/benches/step_against_pytorch.py [--rounds 9] [--steps 6]
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
VERSION = "2.11.0"


class Ours:
    """A trainer process that times one round for each line it is sent."""

    def __init__(self, arguments, depth):
        command = [arguments.trainer, "bench-step", "--on-input", "--threads", str(arguments.threads)]
        shape = {"width": arguments.width, "batch": arguments.batch, "depth": depth}
        for key, value in {**shape, "steps": arguments.steps}.items():
            command += [f"--{key}", str(value)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def round(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the trainer ended with status {self.process.wait()}")
        return json.loads(line)["median_ms"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Theirs:
    """The same net in PyTorch eager."""

    def __init__(self, torch, arguments, depth):
        layers, inputs = [], 28 * 28
        for _ in range(depth):
            layers += [torch.nn.Linear(inputs, arguments.width), torch.nn.ReLU()]
            inputs = arguments.width
        self.model = torch.nn.Sequential(*layers, torch.nn.Linear(inputs, 10))
        for layer in self.model:
            if isinstance(layer, torch.nn.Linear):
                torch.nn.init.kaiming_normal_(layer.weight)
        self.optimiser = torch.optim.Adam(self.model.parameters())
        self.loss = torch.nn.CrossEntropyLoss()
        self.images = torch.rand(arguments.batch, 28 * 28)
        self.labels = torch.randint(10, (arguments.batch,))
        self.steps = arguments.steps

    def round(self):
        times = []
        for _ in range(self.steps):
            started = time.perf_counter()
            self.optimiser.zero_grad()
            loss = self.loss(self.model(self.images), self.labels)
            loss.backward()
            self.optimiser.step()
            loss.item()
            times.append((time.perf_counter() - started) * 1e3)
        return statistics.median(times)


def compare(torch, arguments, depth):
    ours, theirs = Ours(arguments, depth), Theirs(torch, arguments, depth)
    for side in (ours, theirs):
        side.round()
    pairs = [(ours.round(), theirs.round()) for _ in range(arguments.rounds)]
    ours.close()
    ratio = statistics.median(a / b for a, b in pairs)
    medians = [statistics.median(side) for side in zip(*pairs)]
    print(
        f"depth {depth:3}: ours {medians[0]:8.2f} ms, PyTorch eager {medians[1]:8.2f} ms, "
        f"median ratio {ratio:.3f} over {arguments.rounds} rounds of {arguments.steps} steps",
        flush=True,
    )
    return ratio


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainer", default=str(ROOT / "target/release/trainer"))
    parser.add_argument("--depths", type=int, nargs="+", default=[8, 20])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ratio-max", type=float, help="exit with status 1 above this ratio")
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("skipped: PyTorch is not installed for this Python; nothing was compared")
        return 0
    if torch.__version__.split("+")[0] != VERSION:
        print(f"skipped: PyTorch {torch.__version__} is installed, {VERSION} is needed")
        return 0
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    ratios = [compare(torch, arguments, depth) for depth in arguments.depths]
    if arguments.ratio_max is not None and max(ratios) > arguments.ratio_max:
        print(f"the ratio is above {arguments.ratio_max}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

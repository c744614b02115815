#!/usr/bin/env python3
"""The trainer's solo fp32 training step against the same step in PyTorch eager.

Both train the same net with Adam on random images, with one thread and denormals flushed to zero,
in turns, so that a busy machine slows both alike. `--model mlp` is the paper's MLP (width 512,
batch 500), `--model cnn` its CIFAR-10 net (width 96, batch 256, dropout 0.3, max pooling).

    python3 worker/trainer/benches/step_against_pytorch.py [--model cnn] [--rounds 9] [--steps 6]
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
        command = [arguments.trainer, "bench-step", "--on-input"]
        # Without a model the trainer times its MLP; the CNN's depth is fixed.
        model = {"depth": depth} if arguments.model == "mlp" else {"model": arguments.model}
        for key in ("width", "batch", "steps", "threads"):
            model[key] = getattr(arguments, key)
        for key, value in model.items():
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


def mlp(nn, width, depth):
    layers, inputs = [], 28 * 28
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, 10))


def cnn(nn, width):
    """Two and three 3x3 convolutions, each group before a pool, then a 3x3 and two 1x1."""
    layers, inputs = [], 3
    sizes = [(width, 3)] * 2 + ["pool"] + [(2 * width, 3)] * 3 + ["pool", (2 * width, 3)]
    for size in [*sizes, (2 * width, 1)]:
        if size == "pool":
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            continue
        outputs, kernel = size
        layers += [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU()]
        layers.append(nn.Dropout(0.3))
        inputs = outputs
    return nn.Sequential(*layers, nn.Conv2d(inputs, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Theirs:
    """The same net in PyTorch eager."""

    def __init__(self, torch, arguments, depth):
        if arguments.model == "mlp":
            self.model, shape, rate = mlp(torch.nn, arguments.width, depth), (28 * 28,), 1e-3
        else:
            self.model, shape, rate = cnn(torch.nn, arguments.width), (3, 32, 32), 2e-4
        for layer in self.model:
            if hasattr(layer, "weight"):
                torch.nn.init.kaiming_normal_(layer.weight)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=rate)
        self.loss = torch.nn.CrossEntropyLoss()
        self.images = torch.rand(arguments.batch, *shape)
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
    name = arguments.model if depth is None else f"depth {depth:3}"
    print(
        f"{name}: ours {medians[0]:8.2f} ms, PyTorch eager {medians[1]:8.2f} ms, "
        f"median ratio {ratio:.3f} over {arguments.rounds} rounds of {arguments.steps} steps",
        flush=True,
    )
    return ratio


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainer", default=str(ROOT / "target/release/trainer"))
    parser.add_argument("--model", choices=["mlp", "cnn"], default="mlp")
    parser.add_argument("--depths", type=int, nargs="+", default=[8, 20], help="of the mlp")
    parser.add_argument("--width", type=int, help="512 for the mlp, 96 for the cnn")
    parser.add_argument("--batch", type=int, help="500 for the mlp, 256 for the cnn")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ratio-max", type=float, help="exit with status 1 above this ratio")
    arguments = parser.parse_args()
    width, batch = (512, 500) if arguments.model == "mlp" else (96, 256)
    arguments.width, arguments.batch = arguments.width or width, arguments.batch or batch
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
    depths = arguments.depths if arguments.model == "mlp" else [None]
    ratios = [compare(torch, arguments, depth) for depth in depths]
    if arguments.ratio_max is not None and max(ratios) > arguments.ratio_max:
        print(f"the ratio is above {arguments.ratio_max}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`coordinator watch` in a pseudo terminal and in a pipe, beside a real coordinator: what it shows
at several sizes, how it is left, and that it outlives the coordinator.

Run by `make test`; skipped with a message where pyte is missing.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import select
import signal
import struct
import subprocess
import tempfile
import termios
import unittest

from browser import BIN, DEADLINE_SECONDS, ROOT, wait_for

SWEEP = """
name: watched
model: mlp
data: strokes
base: {depth: 2, width: 16, batch_size: 100, patience: null, tau: 1}
grid:
  epochs: [2, EPOCHS]
zip:
  - activation: [relu, grelu]
    init_gain: [1.4142135624, 1]
"""
ALTERNATE, ORDINARY = b"\x1b[?1049h", b"\x1b[?1049l"
# Leaving is at once; the rest is for busy machines.
LEAVING_SECONDS = 5.0


def environment(**more):
    """Without settings of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GRADSWEEP_")}
    return {**kept, "LIBTORCH": os.environ.get("LIBTORCH", str(ROOT / ".libtorch")), **more}


class Coordinator:
    """A coordinator of a sweep, with a local worker, that can be started again."""

    def __init__(self, folder, epochs, *arguments):
        self.program = BIN / "coordinator"
        if not self.program.exists():
            raise unittest.SkipTest(f"skipped: {self.program} is not built")
        self.state, self.log = pathlib.Path(folder) / "state", pathlib.Path(folder) / "log"
        self.sweep = pathlib.Path(folder) / "sweep.yaml"
        self.sweep.write_text(SWEEP.replace("EPOCHS", str(epochs)))
        self.grpc = self.http = "127.0.0.1:0"
        self.arguments = arguments
        self.start()

    def start(self):
        command = [self.program, "--sweep", self.sweep, "--local", "1", "--state", self.state]
        command += ["--listen", self.grpc, "--http", self.http, *self.arguments]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment()
            )

        def endpoint():
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError, ValueError, KeyError):
                endpoint = json.loads((self.state / "endpoint.json").read_text())
                if endpoint["pid"] == self.process.pid:
                    return endpoint
            return None

        endpoint = wait_for("the coordinator's ports", endpoint)
        self.grpc, self.http = endpoint["grpc"], endpoint["http"]

    def end(self, sent=signal.SIGTERM):
        self.process.send_signal(sent)
        self.process.wait(DEADLINE_SECONDS)

    @contextlib.contextmanager
    def stopped(self):
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def coordinator(epochs, *arguments):
    with tempfile.TemporaryDirectory(prefix="gradsweep-") as folder:
        started = Coordinator(folder, epochs, *arguments)
        try:
            yield started
        finally:
            started.end()


class Terminal:
    """`coordinator watch` in a terminal of its own."""

    def __init__(self, arguments, columns=80, lines=24, term="xterm-256color"):
        try:
            import pyte
        except ImportError:
            raise unittest.SkipTest("skipped: Python has no pyte (deploy/tests/requirements.txt)")
        self.screen = pyte.Screen(columns, lines)
        self.stream, self.raw = pyte.ByteStream(self.screen), b""
        self.master, self.slave = os.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            [BIN / "coordinator", "watch", *arguments],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=environment(TERM=term),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def resize(self, columns, lines):
        self.screen.resize(lines, columns)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def text(self):
        """What it shows now."""
        while select.select([self.master], [], [], 0.05)[0]:
            read = os.read(self.master, 65536)
            self.raw += read
            self.stream.feed(read)
        return "\n".join(self.screen.display)

    def shows(self, *patterns, without=()):
        """Waits until all of these are on the screen, and gives its text."""

        def holds():
            text = self.text()
            has = all(re.search(pattern, text) for pattern in patterns)
            return text if has and not any(word in text for word in without) else None

        try:
            return wait_for(f"{patterns} without {without}", holds)
        except AssertionError as error:
            raise AssertionError(f"{error}; status {self.process.poll()}\n{self.text()}") from None

    def press(self, keys):
        os.write(self.master, keys)

    def left(self):
        """Waits for its end, and gives the exit status; the terminal is as it was before."""

        def ended():
            self.text()
            return self.process.poll() is not None

        wait_for("its end", ended, LEAVING_SECONDS)
        self.text()
        assert self.raw.count(ORDINARY) == self.raw.count(ALTERNATE), self.raw[-200:]
        assert self.raw.rfind(ORDINARY) >= self.raw.rfind(ALTERNATE), self.raw[-200:]
        assert termios.tcgetattr(self.slave) == self.before
        return self.process.returncode


@contextlib.contextmanager
def terminal(*arguments, **more):
    opened = Terminal(arguments, **more)
    try:
        yield opened
    finally:
        opened.process.kill()
        opened.process.wait()
        os.close(opened.master)
        os.close(opened.slave)


class Watch(unittest.TestCase):
    """Of a sweep that goes on for longer than the tests."""

    @classmethod
    def setUpClass(cls):
        context = coordinator(100_000)
        cls.coordinator = context.__enter__()
        cls.addClassCleanup(context.__exit__, None, None, None)
        cls.place = ["watched", "--state", str(cls.coordinator.state)]

    def test_every_size_shows_progress_and_trials(self):
        head = r"2/4 done, (about .* left, )?best [\d.]+ %"
        rows = [r"▶ .* \d\.\d\d +[\d.]+ +[▁▂▃▄▅▆▇█]", r"✓ .* 2 "]
        with terminal(*self.place) as opened:
            text = opened.shows(head, *rows, "connected *1 of 1 slots busy")
            for part in ["watched · mlp on strokes", "val_error %", "trend", "best configs"]:
                self.assertIn(part, text)
            opened.resize(40, 10)
            text = opened.shows(r"\nq leaves", "2/4 done", r"best [\d.]+ %", without=["│"])
            self.assertRegex(text, "▶ .* [1-9]")
            for part in ["left", "val_error %", "best %"]:
                self.assertIn(part, text)
            opened.resize(200, 60)
            text = opened.shows("val_error %", "trend", "connected", "┐ *\n")
            self.assertTrue(text.splitlines()[0].rstrip().endswith("┐"), text)
            self.assertEqual(len(text.splitlines()[0].rstrip()), 200)
            opened.press(b"q")
            self.assertEqual(opened.left(), 0)
            self.assertIn(ALTERNATE, opened.raw)

    def test_keys_and_signals_leave_the_terminal_as_it_was(self):
        keys = [(b"q", 0), (b"\x1b", 0), (b"\x03", 130)]
        for key, status in keys:
            with self.subTest(key=key), terminal(*self.place) as opened:
                opened.shows("q leaves")
                opened.press(key)
                self.assertEqual(opened.left(), status)
        for sent in [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]:
            with self.subTest(signal=sent), terminal(*self.place) as opened:
                opened.shows("q leaves")
                opened.process.send_signal(sent)
                self.assertEqual(opened.left(), 128 + sent)

    def test_a_terminal_that_has_gone_ends_it(self):
        opened = Terminal(self.place)
        opened.shows("q leaves")
        os.close(opened.slave)
        os.close(opened.master)
        self.assertEqual(opened.process.wait(DEADLINE_SECONDS), 128 + signal.SIGHUP)

    def test_a_coordinator_that_hangs_is_told_and_can_be_left(self):
        for key, status in [(b"q", 0), (b"\x03", 130)]:
            with self.subTest(key=key), terminal(*self.place) as opened:
                opened.shows("examples/s")
                with self.coordinator.stopped():
                    opened.shows(r"no news for \d+ s")
                    opened.press(key)
                    self.assertEqual(opened.left(), status)
        with terminal(*self.place) as opened:
            opened.shows("examples/s")
            with self.coordinator.stopped():
                opened.shows("trying again: the coordinator does not answer")
            opened.shows("examples/s", without=["no news"])

    def test_mistakes_end_it_at_once_without_a_screen(self):
        with terminal("watchd", "--state", str(self.coordinator.state)) as opened:
            text = opened.shows("did you mean `watched`")
            self.assertNotIn("│", text)
            self.assertEqual(opened.left(), 2)
            self.assertNotIn(ALTERNATE, opened.raw)

    def test_a_terminal_that_cannot_be_drawn_on_gets_lines(self):
        with terminal(*self.place, term="dumb") as opened:
            opened.shows(r"watched: \d/4 done, ")
            self.assertNotIn(ALTERNATE, opened.raw)


class Restart(unittest.TestCase):
    def test_a_coordinator_that_was_killed_is_found_again(self):
        with coordinator(100_000) as started, tempfile.TemporaryFile("w+") as lines:
            command = [BIN / "coordinator", "watch", "watched"]
            piped = subprocess.Popen(
                [*command, "--coordinator", f"http://{started.grpc}"],
                stdout=lines,
                env=environment(),
            )

            def written():
                return os.pread(lines.fileno(), 1 << 20, 0).decode()

            try:
                with terminal("watched", "--state", str(started.state)) as opened:
                    opened.shows(r"▶ .* [1-9]", "examples/s")
                    wait_for("a line", lambda: "/4 done" in written())
                    started.end(signal.SIGKILL)
                    opened.shows(r"no news for \d+ s, trying again: no coordinator runs on ")
                    wait_for("the loss in a line", lambda: "trying again" in written())
                    started.start()
                    opened.shows("examples/s", "1 of 1 slots busy", without=["no news"])
                    wait_for("the return in a line", lambda: "coordinator is back" in written())
                    opened.press(b"q")
                    self.assertEqual(opened.left(), 0)
                self.assertEqual(written().count("trying again"), 1, written())
                self.assertEqual(written().count("coordinator is back"), 1, written())
                self.assertIsNone(piped.poll(), written())
            finally:
                piped.kill()
                piped.wait()

    def test_a_coordinator_without_the_sweep_is_a_mistake_when_it_is_back(self):
        with coordinator(100_000) as started:
            with terminal("watched", "--coordinator", f"http://{started.grpc}") as opened:
                opened.shows("examples/s")
                started.end(signal.SIGKILL)
                opened.shows("trying again: ")
                started.state = started.state.with_name("other")
                started.sweep.write_text(started.sweep.read_text().replace("watched", "watchful"))
                started.start()
                wait_for("its end", lambda: opened.text() and opened.process.poll() is not None)
                self.assertEqual(opened.left(), 2)
                self.assertIn(b"unknown sweep", opened.raw.split(ORDINARY)[-1])

    def test_lines_and_screen_come_to_the_end(self):
        # A coordinator that leaves at once may not have told the last picture: its files have it.
        for arguments in [[], ["--exit-when-done"]]:
            with self.subTest(arguments=arguments), coordinator(3, *arguments) as started:
                self.check_end(started)

    def check_end(self, started):
        command = [BIN / "coordinator", "watch", "watched", "--state", started.state]
        with terminal("watched", "--state", str(started.state)) as opened:
            ended = subprocess.run(
                command, env=environment(), capture_output=True, timeout=DEADLINE_SECONDS
            )
            wait_for("the end", lambda: opened.text() and b" - completed" in opened.raw)
            self.assertEqual(opened.left(), 0)
            self.assertIn(b"watched: 4/4 done, ", opened.raw.split(ORDINARY)[-1])
        self.assertEqual((ended.returncode, ended.stderr), (0, b""))
        lines = ended.stdout.decode().splitlines()
        self.assertRegex(lines[0], r"^watched: \d/4 done, ")
        self.assertRegex(lines[-1], r"^watched: 4/4 done, 0 running, .* - completed$")
        self.assertFalse([line for line in lines if "back" in line], lines)


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""Makes the README's pictures in docs/pictures: the page, the live view and the figures.

    python3 docs/screenshots.py      # needs a build, chromium, chromedriver and requirements.txt

They are of a real run of sweeps/quickstart.yaml, the first ones while it goes on.
"""

import fcntl
import os
import pathlib
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from html import escape

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "deploy" / "tests"))
from browser import BIN, ROOT, browser, coordinator, wait_for  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
COLUMNS, LINES = 110, 26
# Of the terminal's palette those that the live view uses.
COLOURS = {"0000ff": "#5aa9f8", "000000": "#0b0e12", "800000": "#f0786b", "808080": "#6b7684"}


def terminal(command, seconds):
    """What a program shows on a terminal after this time, as a pyte screen."""
    import pyte

    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    pid, descriptor = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv(command[0], command)
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if select.select([descriptor], [], [], 0.1)[0]:
            try:
                stream.feed(os.read(descriptor, 65536))
            except OSError:
                break
    shown = [anonymous([screen.buffer[y][x] for x in range(COLUMNS)]) for y in range(LINES)]
    os.write(descriptor, b"q")
    os.waitpid(pid, 0)
    return shown


def anonymous(row):
    """A line without the worker's name, which has that of the machine."""
    worker = re.search(r"[^\s│]+(?=\s+connected )", "".join(cell.data or " " for cell in row))
    if worker:
        for place, letter in enumerate("host1".ljust(len(worker[0]))):
            row[worker.start() + place] = row[worker.start() + place]._replace(data=letter)
    return row


def colour(name, default):
    """Of a terminal's cell: a name, or six digits."""
    if name == "default":
        return default
    return COLOURS.get(name, f"#{name}")


def page_of(shown):
    """A terminal's screen as a page."""
    lines = []
    for row in shown:
        spans = []
        for cell in row:
            ink, ground = colour(cell.fg, "#d6dde6"), colour(cell.bg, "#10141a")
            if cell.reverse:
                ink, ground = ground, ink
            weight = "700" if cell.bold else "400"
            style = f"color:{ink};background:{ground};font-weight:{weight}"
            spans.append((style, cell.data or " "))
        line, last = "", None
        for style, data in spans:
            if style != last:
                line += ("</span>" if last else "") + f'<span style="{style}">'
                last = style
            line += escape(data)
        lines.append(line + "</span>")
    return (
        '<meta charset="utf-8"><body style="margin:0;background:#10141a"><pre style="margin:14px;'
        'font:14px/1.25 DejaVu Sans Mono,monospace">' + "\n".join(lines) + "</pre>"
    )


def shoot(window, url, name, height=None):
    window.get(url)
    images = "return [...document.images].every((it) => it.complete && it.naturalWidth)"
    for image in window.find_elements("css selector", "img"):
        window.execute_script("arguments[0].scrollIntoView()", image)
    wait_for("the figures", lambda: window.execute_script(images))
    window.execute_script("scrollTo(0, 0)")
    window.save_screenshot(str(PICTURES / name))
    print(f"docs/pictures/{name}")


def main():
    PICTURES.mkdir(exist_ok=True)
    with coordinator("--sweep", "sweeps/quickstart.yaml", "--local") as (address, state):
        sweep = f"{address}/sweeps/quickstart"
        with browser(1200, 820) as window:
            window.get(address)
            done = "return document.querySelector('main').innerText.match(/(\\d+) of \\d+ trials/)"
            enough = lambda: int(window.execute_script(done)[1]) >= 12  # noqa: E731
            wait_for("half of the trials", enough)
            watch = [str(BIN / "coordinator"), "watch", "quickstart", "--state", str(state)]
            shown = terminal(watch, 8.0)
            shoot(window, address, "home.png")
            over = "return document.querySelector('main').innerText.includes('24 of 24 trials')"
            wait_for("the end", lambda: window.execute_script(over))
        with browser(1200, 1750) as window:
            shoot(window, sweep, "sweep.png")
        with browser(390, 800, dark=True) as window:
            shoot(window, sweep, "phone.png")
        with browser(990, 530) as window, tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "watch.html"
            path.write_text(page_of(shown))
            shoot(window, path.as_uri(), "watch.png")
        for command, name in [
            (["plot", "quickstart", "--by", "activation,init_gain"], "plot.png"),
            (["curves", "quickstart"], "curves.png"),
        ]:
            output = PICTURES / name
            subprocess.run(
                [BIN / "coordinator", *command, "-o", output, "--state", state], check=True
            )
            print(f"docs/pictures/{name}")


if __name__ == "__main__":
    main()

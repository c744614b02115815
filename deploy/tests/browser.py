"""A headless Chromium for tests and pictures, and a coordinator to look at."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = pathlib.Path(os.environ.get("GRADSWEEP_BIN", ROOT / "target" / "release"))
DEADLINE_SECONDS = 120.0
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()


def wait_for(what, holds, seconds=DEADLINE_SECONDS):
    """Waits for a state and gives what `holds` found."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = holds()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")


@contextlib.contextmanager
def browser(width=1100, height=900, dark=False):
    """A browser window of this size in CSS pixels; skips the test where there is none."""
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        raise unittest.SkipTest("skipped: Python has no selenium (deploy/tests/requirements.txt)")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        raise unittest.SkipTest("skipped: chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in [*FLAGS, f"--window-size={width},{height}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(service=Service(driver), options=options)
    try:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        yield opened
    finally:
        opened.quit()


@contextlib.contextmanager
def coordinator(*arguments, state=None):
    """A coordinator of this checkout on free ports; gives its HTTP address and state directory."""
    program = BIN / "coordinator"
    if not program.exists():
        raise unittest.SkipTest(f"skipped: {program} is not built")
    with tempfile.TemporaryDirectory(prefix="gradsweep-") as folder:
        state = pathlib.Path(state or f"{folder}/state")
        log = open(f"{folder}/log", "w+")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GRADSWEEP_")}
        environment["LIBTORCH"] = os.environ.get("LIBTORCH", str(ROOT / ".libtorch"))
        command = [program, *arguments, "--state", state]
        command += ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        running = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment
        )

        def address():
            assert running.poll() is None, pathlib.Path(f"{folder}/log").read_text()
            with contextlib.suppress(OSError, ValueError, KeyError):
                endpoint = json.loads((state / "endpoint.json").read_text())
                if endpoint["pid"] == running.pid:
                    return f"http://{endpoint['http']}"
            return None

        try:
            yield wait_for("the coordinator's ports", address), state
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(DEADLINE_SECONDS)
            log.close()

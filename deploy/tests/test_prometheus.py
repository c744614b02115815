"""Tests of the rules and the dashboard: promtool's own, and the real Prometheus that scrapes a
coordinator while it runs a small sweep. Every query of the dashboard and every rule has to return
data there.

No GPU is needed, nor credentials: `gpus.prom` is what a coordinator says of GPUs, held to that by a
unit test of its metrics, and `tls.prom` what one with TLS says of it; both are served here as a
second target. Needs the built programs, libtorch, and
Debian's package `prometheus`; says what is missing and skips. Run by `make test`; prints
`N passed, N failed` at the end.
"""

import contextlib
import http.server
import importlib.util
import itertools
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
DASHBOARD = DEPLOY / "grafana/dashboards/gradsweep.json"
PAGES = (DEPLOY / "tests/gpus.prom", DEPLOY / "tests/tls.prom")
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
PROGRAMS = pathlib.Path(os.environ.get("GRADSWEEP_BIN") or TARGET / "release")
DEADLINE_SECONDS = 240.0
POLL_SECONDS = 0.2

# Six trials, for some twenty seconds on two cores: Prometheus starts meanwhile and sees them run.
SWEEP = ROOT / "sweeps/quickstart.yaml"
SWEEP_SETS = ("name=scraped", "grid.depth=[2, 60]", "seeds=1", "base.width=64", "base.epochs=40")

# What Grafana puts in the place of its own variables here.
RATE_INTERVAL = "10s"


def missing():
    """Why the real thing cannot be tested on this machine; nothing where it can."""
    for tool in ("prometheus", "promtool"):
        if not shutil.which(tool):
            return f"no `{tool}`: apt install prometheus"
    for program in ("coordinator", "worker", "trainer"):
        if not (PROGRAMS / program).is_file():
            return f"no program {PROGRAMS / program}: make build"
    if not os.environ.get("LIBTORCH") and not (ROOT / ".libtorch").exists():
        return "no libtorch: make libtorch"
    return ""


def wait_for(what, found):
    """The first result that is true."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"waited {DEADLINE_SECONDS:.0f} s for {what}")


def dashboard():
    return json.loads(DASHBOARD.read_text())


def panels():
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def variables():
    found = dashboard()["templating"]["list"]
    return {variable["name"]: variable for variable in found if variable["type"] == "query"}


def substituted(expr):
    """A query as Grafana sends it with every sweep and worker chosen."""
    for name, variable in variables().items():
        expr = expr.replace(f"${name}", variable["allValue"])
    return expr.replace("$__rate_interval", RATE_INTERVAL)


def dashboard_queries():
    """Title of the panel and query."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], substituted(target["expr"])


def without_comparisons(expr):
    """What an alert compares with numbers: in a healthy run the alert itself is empty."""
    return re.sub(r"\s*(==|!=|<=|>=|<|>)\s*[\d.e+]+\b", "", expr)


def promtool(*arguments, stdin=None):
    done = subprocess.run(
        ["promtool", *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


class Dashboard(unittest.TestCase):
    def test_the_file_is_what_its_program_makes(self):
        path = DEPLOY / "grafana/dashboard.py"
        spec = importlib.util.spec_from_file_location("dashboard", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.assertEqual(DASHBOARD.read_text(), module.text(), f"run {path.relative_to(ROOT)}")

    def test_its_rows_are_there_and_its_panels_do_not_overlap(self):
        rows = [panel for panel in dashboard()["panels"] if panel["type"] == "row"]
        titles = [row["title"] for row in rows]
        self.assertEqual(titles, ["Sweeps", "Training", "Workers and GPUs", "Coordinator"])
        ids = [panel["id"] for panel in dashboard()["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        taken = set()
        for panel in dashboard()["panels"]:
            place = panel["gridPos"]
            across = range(place["x"], place["x"] + place["w"])
            down = range(place["y"], place["y"] + place["h"])
            cells = set(itertools.product(across, down))
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            taken |= cells

    def test_every_panel_says_its_unit_and_what_it_shows(self):
        for panel in panels():
            self.assertTrue(panel["fieldConfig"]["defaults"]["unit"], panel["title"])
            self.assertTrue(panel["description"].endswith("."), panel["title"])
            self.assertEqual(panel["datasource"]["uid"], "${datasource}", panel["title"])

    def test_its_data_source_is_the_one_that_is_provisioned(self):
        path = DEPLOY / "grafana/provisioning/datasources/prometheus.yaml"
        uid = re.search(r"^    uid: (\S+)$", path.read_text(), re.MULTILINE)[1]
        source = next(v for v in dashboard()["templating"]["list"] if v["type"] == "datasource")
        self.assertEqual(source["current"]["value"], uid)

    def test_grafanas_own_types_keep_all_of_it(self):
        try:
            from grafana_foundation_sdk.cog.encoder import JSONEncoder
            from grafana_foundation_sdk.cog.plugins import register_default_plugins
            from grafana_foundation_sdk.models.dashboard import Dashboard as Model
        except ImportError:
            self.skipTest("no package grafana-foundation-sdk: pip install it for this check")
        register_default_plugins()
        kept = json.loads(JSONEncoder().encode(Model.from_json(dashboard())))
        self.assertEqual(list(lost(dashboard(), kept, "")), [])


def lost(given, kept, path):
    """What of the first is not in the second, which may say more."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            yield from lost(value, kept.get(key), f"{path}.{key}")
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for at, value in enumerate(given):
            yield from lost(value, kept[at], f"{path}[{at}]")
    elif given != kept:
        yield f"{path}: {given!r} became {kept!r}"


@unittest.skipUnless(shutil.which("promtool"), "no `promtool`: apt install prometheus")
class Rules(unittest.TestCase):
    def passes(self, *arguments):
        status, output = promtool(*arguments)
        self.assertEqual(status, 0, output)

    def test_the_rules_are_well_formed(self):
        self.passes("check", "rules", DEPLOY / "prometheus/rules.yml")

    def test_the_configuration_is_well_formed(self):
        self.passes("check", "config", DEPLOY / "prometheus/prometheus.yml")

    def test_the_example_for_tls_and_a_token_is_well_formed(self):
        text = (DEPLOY / "prometheus/prometheus.yml").read_text()
        before, job, example = text.partition("#  - job_name: gradsweep\n")
        self.assertTrue(job)
        lines = [line.removeprefix("#") for line in (job + example).splitlines()]
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            shutil.copy(DEPLOY / "prometheus/rules.yml", folder)
            for name in re.findall(r"/etc/prometheus/(\S+)", "\n".join(lines)):
                (folder / name).write_text("")
            begin = before[: before.index("  - job_name")]
            example = "\n".join(lines).replace("/etc/prometheus", str(folder))
            (folder / "prometheus.yml").write_text(f"{begin}{example}\n")
            self.passes("check", "config", "--syntax-only", folder / "prometheus.yml")

    def test_each_alert_fires_and_stays_silent(self):
        self.passes("test", "rules", DEPLOY / "prometheus/rules_test.yml")

    def test_each_alert_and_record_has_a_test(self):
        rules = (DEPLOY / "prometheus/rules.yml").read_text()
        tests = (DEPLOY / "prometheus/rules_test.yml").read_text()
        alerts = re.findall(r"- alert: (\S+)", rules)
        self.assertGreaterEqual(len(alerts), 5)
        for alert in alerts:
            cases = re.findall(rf"alertname: {alert}\n +exp_alerts:(.*)", tests)
            self.assertIn("", cases, f"{alert} fires in no test")
            self.assertIn(" []", cases, f"{alert} is silent in no test")
        for record in re.findall(r"- record: (\S+)", rules):
            self.assertIn(f"- expr: {record}\n", tests)

    def test_the_lines_of_gpus_and_tls_are_well_formed(self):
        for page in PAGES:
            self.assertEqual(promtool("check", "metrics", stdin=page.read_text()), (0, ""))


class Page(http.server.BaseHTTPRequestHandler):
    """Serves the lines of GPUs and TLS."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b"".join(page.read_bytes() for page in PAGES))

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def second_target():
    """Host and port of a target with GPUs and TLS."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield "127.0.0.1:%d" % server.server_address[1]
        finally:
            server.shutdown()


@contextlib.contextmanager
def process(log, *command):
    """A program of ours, stopped as by a first Ctrl-C; its output goes to a file."""
    with log.open("w") as output:
        running = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(timeout=DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def log_has(running, log, pattern):
    """The match of a pattern in the log of a process, which must not end before."""
    if running.poll() is not None:
        raise AssertionError(f"it ended:\n{log.read_text()}")
    return re.search(pattern, log.read_text())


def call_until(ended, command):
    """A client asks once a second: a rate needs a call between two scrapes."""
    while not ended.wait(timeout=1.0):
        subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL, timeout=60)


@contextlib.contextmanager
def coordinator(folder):
    """Host and port of the metrics of a coordinator that runs the sweep and stays."""
    log, state = folder / "coordinator.log", folder / "state"
    command = [PROGRAMS / "coordinator", "--sweep", SWEEP, "--local", "2", "--state", state]
    command += ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    command += itertools.chain.from_iterable(("--set", item) for item in SWEEP_SETS)
    with process(log, *command) as running:
        path = state / "endpoint.json"
        wait_for("a coordinator", lambda: log_has(running, log, "serving") and path.exists())
        endpoint = json.loads(path.read_text())
        command = [PROGRAMS / "coordinator", "list", "--coordinator", f"http://{endpoint['grpc']}"]
        ended = threading.Event()
        caller = threading.Thread(target=call_until, args=(ended, command))
        caller.start()
        try:
            yield endpoint["http"]
        finally:
            ended.set()
            caller.join()


@contextlib.contextmanager
def prometheus(folder, *scraped):
    """Address of a Prometheus with our configuration, but for targets and intervals."""
    text = (DEPLOY / "prometheus/prometheus.yml").read_text()
    changes = [
        ('targets: ["localhost:9600"]', f"targets: {json.dumps(scraped)}"),
        ("scrape_interval: 15s", "scrape_interval: 500ms"),
        ("evaluation_interval: 15s", "evaluation_interval: 500ms"),
    ]
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "prometheus.yml").write_text(text)
    shutil.copy(DEPLOY / "prometheus/rules.yml", folder)
    log = folder / "prometheus.log"
    command = [shutil.which("prometheus"), f"--config.file={folder / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={folder / 'tsdb'}", "--web.listen-address=127.0.0.1:0"]
    with process(log, *command) as running:
        # With "Start listening" it says only what it was asked for.
        pattern = r'msg="Listening on".* address=(\S+:[1-9]\d*)'
        yield wait_for("Prometheus", lambda: log_has(running, log, pattern))[1]


def get(address, path, **parameters):
    query = urllib.parse.urlencode(parameters, doseq=True)
    with urllib.request.urlopen(f"http://{address}{path}?{query}", timeout=10) as answer:
        return answer.read().decode()


@unittest.skipIf(missing(), missing())
class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        second = stack.enter_context(second_target())
        cls.target = stack.enter_context(coordinator(folder))
        cls.began = time.time()
        cls.address = stack.enter_context(prometheus(folder, cls.target, second))

    def ask(self, path, **parameters):
        try:
            answer = json.loads(get(self.address, path, **parameters))
        except urllib.error.HTTPError as error:
            self.fail(f"{parameters}: {error.read().decode()}")
        self.assertEqual(answer["status"], "success", answer)
        return answer["data"]

    def has_data(self, expr):
        """Whether a query had a number at any time since the beginning, as a panel shows it."""
        times = {"start": self.began, "end": time.time(), "step": "0.5"}
        series = self.ask("/api/v1/query_range", query=expr, **times)["result"]
        values = (value for one in series for _, value in one["values"])
        return any(math.isfinite(float(value)) for value in values)

    def have_data(self, queries):
        """Waits until each of (name, query) had data."""
        empty = list(queries)
        self.assertTrue(empty)

        def filled():
            empty[:] = [query for query in empty if not self.has_data(query[1])]
            return not empty

        try:
            wait_for("data", filled)
        except AssertionError:
            self.fail("without data:\n" + "\n".join(map(str, empty)))

    def test_every_query_of_the_dashboard_returns_data(self):
        self.have_data(dashboard_queries())

    def test_every_variable_has_values(self):
        self.assertEqual(sorted(variables()), ["sweep", "worker"])
        for name, variable in variables().items():
            query = variable["query"]["query"]
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups()
            path, match = f"/api/v1/label/{label}/values", {"match[]": metric}
            wait_for(name, lambda: self.ask(path, **match))

    def rules(self):
        groups = self.ask("/api/v1/rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def test_every_rule_is_well_and_has_data(self):
        wait_for("rules", lambda: all(rule["health"] != "unknown" for rule in self.rules()))
        rules = self.rules()
        self.assertEqual([rule for rule in rules if rule["health"] != "ok"], [])
        records = [rule["name"] for rule in rules if rule["type"] == "recording"]
        self.have_data((name, name) for name in records)
        alerts = [rule for rule in rules if rule["type"] == "alerting"]
        compared = [(rule["name"], without_comparisons(rule["query"])) for rule in alerts]
        for rule, (_, expr) in zip(alerts, compared):
            self.assertNotEqual(rule["query"], expr)
            self.assertNotRegex(expr, r"[<>]|==")
        self.have_data(compared)

    def test_a_healthy_run_raises_no_alert(self):
        done = 'gradsweep_trials{sweep="scraped", state="completed"} == 6'
        wait_for("the end of the sweep", lambda: self.ask("/api/v1/query", query=done)["result"])
        firing = self.ask("/api/v1/query", query='ALERTS{alertstate="firing"}')["result"]
        self.assertEqual(firing, [])

    def test_the_exposition_is_well_formed(self):
        page = get(self.target, "/metrics")
        self.assertEqual(promtool("check", "metrics", stdin=page), (0, ""))


if __name__ == "__main__":
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    result = unittest.TextTestRunner(verbosity=1).run(suite)
    for test, why in result.skipped:
        print(f"skipped {test}: {why}")
    failed = len(result.failures) + len(result.errors)
    passed = result.testsRun - failed - len(result.skipped)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)

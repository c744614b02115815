"""Tests of what belongs together in deploy/: names, ports, times and options that stand in several
files, and the programs' own words for their options.

Nothing is started but the programs' `--help`, kubectl and a shell's syntax check; what is missing
on this machine (PyYAML, kubectl, kubernetes-validate, cloudcoil's models, the programs) is skipped
with a message.
Run by `make test`; prints `N passed, N failed` at the end.
"""

import functools
import importlib.util
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

try:
    import yaml
except ImportError:
    yaml = None
try:
    import kubernetes_validate
except ImportError:
    kubernetes_validate = None
try:
    from cloudcoil.models.prometheus_operator import v1 as prometheus_operator
except ImportError:
    prometheus_operator = None

DEPLOY = pathlib.Path(__file__).resolve().parent.parent
ROOT = DEPLOY.parent
KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = ("cpu", "gpu")
FOLDERS = ("docker", "compose", "systemd", "kubernetes", "slurm")
# Of version 1.28 and newer, some of them.
KUBERNETES_VERSIONS = ("1.28", "1.31", "1.37")
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
PROGRAMS = pathlib.Path(os.environ.get("GRADSWEEP_BIN") or TARGET / "release")

# Programs from before there were credentials know none of these.
OF_CREDENTIALS = {"--credentials", "--insecure", "--mutual-tls"}
COMMAND_OF_CREDENTIALS = "init-tls"
VARIABLES_OF_CREDENTIALS = {"GRADSWEEP_CREDENTIALS"}
# Of the Slurm scripts themselves, deploy/libtorch.sh, the Grafana provisioning and health.sh.
OTHER_VARIABLES = {
    "GRADSWEEP_HOME", "GRADSWEEP_RUN", "GRADSWEEP_CACHE", "GRADSWEEP_PROMETHEUS_URL",
    "GRADSWEEP_HEALTH_CREDENTIALS",
}

needs_yaml = unittest.skipUnless(yaml, "PyYAML is not installed")


def text_of(*parts):
    return DEPLOY.joinpath(*parts).read_text()


def files_below(*patterns):
    found = [path for pattern in patterns for path in DEPLOY.rglob(pattern)]
    return sorted(path for path in found if path.is_file())


if yaml:

    class Loader(yaml.SafeLoader):
        """Refuses a key that stands twice in a mapping: PyYAML takes the last one in silence."""

        def construct_mapping(self, node, deep=False):
            keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
            twice = {key for key in keys if keys.count(key) > 1}
            if twice:
                raise yaml.YAMLError(f"{node.start_mark}: twice in one mapping: {twice}")
            return super().construct_mapping(node, deep)


def documents(path):
    return [document for document in yaml.load_all(path.read_text(), Loader) if document]


def document(path):
    only, = documents(path)
    return only


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(m?s|m?)", text).groups()
    return int(number) * {"s": 1, "": 1, "m": 60}[unit]


def worker_drain_seconds():
    """How long a worker takes to leave at most, by its own constants."""
    agent = (ROOT / "worker/src/agent.rs").read_text()
    drain_ms, = re.findall(r"const DRAIN_MS_MAX: u64 = ([\d_]+);", agent)
    waits = re.findall(r"const \w+_WAIT: Duration = Duration::from_secs\((\d+)\);", agent)
    assert waits, "the trainers' end takes time"
    return int(drain_ms) / 1000 + sum(map(int, waits))


def coordinator_stop_seconds():
    texts = [path.read_text() for path in (ROOT / "coordinator/src").rglob("*.rs")]
    waits = [re.findall(r"const SHUTDOWN_WAIT: Duration = Duration::from_secs\((\d+)\);", text)
             for text in texts]
    if not any(waits):
        raise unittest.SkipTest("the coordinator's SHUTDOWN_WAIT is not found in its source")
    return max(int(wait) for found in waits for wait in found)


def local_drain_seconds():
    found, = re.findall(
        r"const DRAIN_SECONDS_MAX: u64 = (\d+);", (ROOT / "coordinator/src/local.rs").read_text()
    )
    return int(found)


class Dockerfile:
    """Stages of a Dockerfile: name -> instructions, each a word and its text."""

    def __init__(self, name):
        text = text_of("docker", f"{name}.Dockerfile")
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        joined = "\n".join(lines).replace("\\\n", " ")
        self.stages, self.parents, self.arguments = {}, {}, {}
        for line in filter(None, map(str.strip, joined.splitlines())):
            word, rest = line.split(None, 1)
            if word == "FROM":
                image, _, stage = rest.partition(" AS ")
                self.last = stage or "last"
                self.stages[self.last], self.parents[self.last] = [], image
            elif self.stages:
                self.stages[self.last].append((word, " ".join(rest.split())))
            else:
                key, _, value = rest.partition("=")
                self.arguments[key] = value

    def instructions(self, stage):
        """Those of a stage after those of the stages that it is built on."""
        parent = self.parents[stage]
        before = self.instructions(parent) if parent in self.stages else []
        return before + self.stages[stage]

    def last_of(self, stage, word):
        return [rest for found, rest in self.instructions(stage) if found == word][-1]


IMAGES = (("coordinator", "last"), ("worker", "cpu"), ("worker", "cuda"))


class Images(unittest.TestCase):
    def test_a_program_is_the_first_process_and_not_roots(self):
        users = set()
        for name, stage in IMAGES:
            with self.subTest(image=name, stage=stage):
                file = Dockerfile(name)
                self.assertEqual(file.last_of(stage, "ENTRYPOINT"), f'["{name}"]')
                user = file.last_of(stage, "USER")
                self.assertRegex(user, r"^[1-9]\d*:[1-9]\d*$")
                made = next(rest for word, rest in file.instructions(stage) if "useradd" in rest)
                self.assertIn(f"--uid {user.split(':')[0]}", made)
                users.add(user)
        self.assertEqual(len(users), 1, "the images share volumes, so they share a user")

    def test_the_default_worker_is_the_cpus(self):
        self.assertEqual(Dockerfile("worker").last, "cpu")

    def test_stages_are_there_before_they_are_used(self):
        for name in ("coordinator", "worker"):
            file = Dockerfile(name)
            known = []
            for stage, instructions in file.stages.items():
                copied = [re.findall(r"^--from=(\S+)", rest) for _, rest in instructions]
                for used in sum(copied, []):
                    self.assertIn(used, known, f"{name}: {stage}")
                known.append(stage)

    def test_programs_are_built_from_the_lock_by_the_workspaces_rust(self):
        manifest = (ROOT / "Cargo.toml").read_text()
        rust, = re.findall(r'^rust-version = "([\d.]+)"', manifest, re.MULTILINE)
        for name in ("coordinator", "worker"):
            file = Dockerfile(name)
            self.assertEqual(file.arguments["RUST_VERSION"], rust)
            builds = [rest for word, rest in file.stages["build"] if "cargo build" in rest]
            self.assertEqual(len(builds), 1)
            self.assertIn("cargo build --release --locked", builds[0])

    def test_builder_gets_every_package_and_nothing_private(self):
        lines = (ROOT / ".dockerignore").read_text().splitlines()
        rules = [line for line in lines if line and not line.startswith("#")]
        self.assertEqual(rules[0], "*", "all is left out but what is named")
        sent = [rule[1:] for rule in rules if rule.startswith("!")]
        for path in sent:
            self.assertTrue((ROOT / path).exists(), path)
        manifest = (ROOT / "Cargo.toml").read_text()
        members = re.search(r"^members = \[(.*?)\]", manifest, re.DOTALL | re.MULTILINE).group(1)
        needed = re.findall(r'"([^"]+)"', members) + ["Cargo.toml", "Cargo.lock", ".cargo", "proto"]
        for name in ("coordinator", "worker"):
            for _, instruction in sum(Dockerfile(name).stages.values(), []):
                copied = re.fullmatch(r"((?:deploy|sweeps)\S*(?: deploy/\S+)*) \S+", instruction)
                needed += copied.group(1).split() if copied else []
        self.assertIn("deploy/docker/health.sh", needed)
        self.assertIn("deploy/libtorch_unpack.py", needed)
        for path in needed:
            is_sent = any(path == rule or path.startswith(f"{rule}/") for rule in sent)
            self.assertTrue(is_sent, f"{path} does not reach the builder")
        self.assertIn("**/target", rules)


@needs_yaml
class Compose(unittest.TestCase):
    def setUp(self):
        self.compose = document(DEPLOY / "compose/compose.yaml")
        self.services = self.compose["services"]

    def test_ports_are_published_on_the_loopback_alone(self):
        for name, service in self.services.items():
            for port in service.get("ports", []):
                self.assertRegex(port, r"^127\.0\.0\.1:\d+:\d+$", name)

    def test_images_are_built_by_stages_that_exist(self):
        gpu = document(DEPLOY / "compose/compose.gpu.yaml")["services"]
        self.assertLessEqual(set(gpu), set(self.services))
        for name in ("coordinator", "worker"):
            build = self.services[name]["build"]
            self.assertEqual((DEPLOY / "compose" / build["context"]).resolve(), ROOT)
            self.assertEqual(build["dockerfile"], f"deploy/docker/{name}.Dockerfile")
        stages = Dockerfile("worker").stages
        self.assertIn(self.services["worker"]["build"]["target"], stages)
        self.assertIn(gpu["worker"]["build"]["target"], stages)
        self.assertNotEqual(gpu["worker"]["image"], self.services["worker"]["image"])

    def test_mounts_and_needed_services_exist(self):
        for name, service in self.services.items():
            for mount in service.get("volumes", []):
                source = mount.split(":")[0]
                with self.subTest(service=name, mount=source):
                    if not source.startswith("."):
                        self.assertIn(source, self.compose["volumes"])
                        continue
                    path = (DEPLOY / "compose" / source).resolve()
                    of_others = path.relative_to(ROOT).parts[:2]
                    if not path.exists() and of_others in (
                        ("deploy", "prometheus"), ("deploy", "grafana")
                    ):
                        self.skipTest(f"{path.relative_to(ROOT)} is not in this checkout yet")
                    self.assertTrue(path.exists(), path)
            self.assertLessEqual(set(service.get("depends_on", [])), set(self.services))

    def test_worker_finds_the_coordinator(self):
        url = self.services["worker"]["environment"]["GRADSWEEP_COORDINATOR"]
        ports = Dockerfile("coordinator").last_of("last", "EXPOSE").split()
        self.assertEqual(url, f"http://coordinator:{ports[0]}")
        published = [port.split(":")[-1] for port in self.services["coordinator"]["ports"]]
        self.assertEqual(published, ports)

    def test_containers_have_time_to_drain(self):
        grace = {name: seconds(self.services[name]["stop_grace_period"])
                 for name in ("coordinator", "worker")}
        self.assertGreater(grace["worker"], worker_drain_seconds())
        self.assertGreater(grace["coordinator"], coordinator_stop_seconds())

    def test_everything_comes_back_after_a_reboot(self):
        for name, service in self.services.items():
            self.assertEqual(service["restart"], "unless-stopped", name)

    def test_prometheus_scrapes_the_coordinator_under_the_name_of_the_rules(self):
        config = document(DEPLOY / "compose/prometheus.yml")
        job, = config["scrape_configs"]
        http = Dockerfile("coordinator").last_of("last", "EXPOSE").split()[1]
        self.assertEqual(job["static_configs"], [{"targets": [f"coordinator:{http}"]}])
        targets = [mount.split(":")[1] for mount in self.services["prometheus"]["volumes"]]
        for rules in config["rule_files"]:
            self.assertIn(f"/etc/prometheus/{rules}", targets)
        path = DEPLOY / "prometheus/prometheus.yml"
        if not path.exists():
            self.skipTest("deploy/prometheus is not in this checkout yet")
        jobs = [job["job_name"] for job in document(path)["scrape_configs"]]
        self.assertIn(job["job_name"], jobs)

    def test_grafana_finds_prometheus_and_the_dashboards(self):
        folder = DEPLOY / "grafana/provisioning"
        if not folder.exists():
            self.skipTest("deploy/grafana is not in this checkout yet")
        grafana = self.services["grafana"]
        targets = [mount.split(":")[1] for mount in grafana["volumes"]]
        provided = [document(path) for path in sorted(folder.glob("dashboards/*.yaml"))]
        paths = [each["options"]["path"] for file in provided for each in file["providers"]]
        self.assertTrue(paths)
        for path in paths:
            self.assertIn(path, targets)
        sources = [document(path) for path in sorted(folder.glob("datasources/*.yaml"))]
        urls = [each["url"] for file in sources for each in file["datasources"]]
        set_here = {f"${key}": value for key, value in grafana["environment"].items()}
        self.assertEqual([set_here.get(url, url) for url in urls], ["http://prometheus:9090"])


class Units(unittest.TestCase):
    def unit(self, name):
        """Directive -> values, whatever the section."""
        found = {}
        for line in text_of("systemd", f"gradsweep-{name}.service").splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                found.setdefault(key, []).append(value)
        return found

    def test_agent_alone_is_told_to_stop_and_has_time_to_drain(self):
        for name in ("coordinator", "worker"):
            self.assertEqual(self.unit(name)["KillMode"], ["mixed"])
        stop = [int(self.unit(name)["TimeoutStopSec"][0]) for name in ("coordinator", "worker")]
        self.assertGreater(stop[0], coordinator_stop_seconds() + local_drain_seconds())
        self.assertGreater(stop[1], worker_drain_seconds())

    def test_a_trainer_out_of_memory_does_not_end_its_worker(self):
        self.assertEqual(self.unit("worker")["OOMPolicy"], ["continue"])

    def test_shared_files_have_one_owner_on_every_host(self):
        readme = text_of("systemd", "README.md")
        self.assertRegex(readme, r"groupadd --system --gid (\d+) gradsweep\n")
        self.assertRegex(readme, r"useradd --system --uid (\d+) --gid gradsweep ")

    def test_devices_and_compiled_code_stay_possible_for_a_worker(self):
        unit = self.unit("worker")
        for key in ("PrivateDevices", "ProtectClock", "DevicePolicy", "DeviceAllow",
                    "MemoryDenyWriteExecute", "ProcSubset"):
            self.assertNotIn(key, unit)

    def test_environment_files_have_an_example(self):
        for name in ("coordinator", "worker"):
            self.assertEqual(self.unit(name)["EnvironmentFile"], [f"/etc/gradsweep/{name}.env"])
            example = text_of("systemd", f"{name}.env.example")
            for line in filter(None, example.splitlines()):
                self.assertRegex(line, r"^(# .*|#?[A-Z_]+=\S.*)$")

    def test_state_is_where_the_service_may_write(self):
        for name, variable in (("coordinator", "STATE"), ("worker", "WORKER_STATE")):
            unit = self.unit(name)
            self.assertIn(f"GRADSWEEP_{variable}=%S/gradsweep/{name}", unit["Environment"])
            self.assertIn(f"gradsweep/{name}", unit["StateDirectory"][0].split())
            self.assertEqual(unit["ProtectSystem"], ["strict"])


def rendered(overlay, with_all=False):
    """What kubectl makes of an overlay; with the components too that it leaves to its user."""
    with tempfile.TemporaryDirectory() as holder:
        tree = pathlib.Path(holder) / "kubernetes"
        shutil.copytree(KUBERNETES, tree)
        path = tree / "overlays" / overlay / "kustomization.yaml"
        if with_all:
            path.write_text(path.read_text().replace("  # - ../", "  - ../"))
        command = ["kubectl", "kustomize", str(path.parent)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return [each for each in yaml.load_all(result.stdout, Loader) if each]


def base_documents():
    names = document(KUBERNETES / "base/kustomization.yaml")["resources"]
    return [each for name in names for each in documents(KUBERNETES / "base" / name)]


@functools.lru_cache(maxsize=None)
def variants():
    """Name -> documents: the base as it is written, and what kubectl renders where there is one."""
    found = {"base": base_documents()}
    if shutil.which("kubectl"):
        for overlay in OVERLAYS:
            found[overlay] = rendered(overlay)
            found[f"{overlay} with all"] = rendered(overlay, with_all=True)
    else:
        print("test_deploy: overlays skipped: kubectl is not installed", file=sys.stderr)
    return found


def of_kind(documents_, *kinds):
    return [each for each in documents_ if each["kind"] in kinds]


def pods(documents_):
    """Name of each workload with its pods' template."""
    workloads = of_kind(documents_, "Deployment", "StatefulSet", "Job")
    return {each["metadata"]["name"]: each["spec"]["template"] for each in workloads}


def labels(template):
    return template["metadata"]["labels"]


def selects(selector, template):
    return selector.items() <= labels(template).items()


def container_ports(template):
    return {port.get("name"): port["containerPort"]
            for container in template["spec"]["containers"] for port in container.get("ports", [])}


@needs_yaml
class Kubernetes(unittest.TestCase):
    def each_variant(self):
        for name, found in variants().items():
            with self.subTest(variant=name):
                yield found

    def test_every_manifest_is_in_a_kustomization_and_every_name_in_one_exists(self):
        used = set()
        for path in KUBERNETES.rglob("kustomization.yaml"):
            used.add(path)
            content = document(path)
            names = content.get("resources", []) + content.get("components", [])
            names += [patch["path"] for patch in content.get("patches", [])]
            names += re.findall(r"^  # - (\.\./\S+)", path.read_text(), re.MULTILINE)
            for name in names:
                target = (path.parent / name).resolve()
                target = target / "kustomization.yaml" if target.is_dir() else target
                self.assertTrue(target.is_file(), f"{path.relative_to(ROOT)}: {name}")
                used.add(target)
        self.assertEqual(set(KUBERNETES.rglob("*.yaml")), used)

    def test_selectors_match_labels(self):
        for found in self.each_variant():
            for workload in of_kind(found, "Deployment", "StatefulSet"):
                selector = workload["spec"]["selector"]["matchLabels"]
                self.assertTrue(selects(selector, workload["spec"]["template"]), selector)
            everything = pods(found).values()
            for service in of_kind(found, "Service"):
                matching = [pod for pod in everything if selects(service["spec"]["selector"], pod)]
                self.assertEqual(len(matching), 1, service["metadata"]["name"])
                ports = container_ports(matching[0])
                for port in service["spec"]["ports"]:
                    self.assertEqual(ports[port["targetPort"]], port["port"])

    def test_network_policies_name_pods_and_ports_that_exist(self):
        for found in self.each_variant():
            everything = pods(found).values()
            ports = {port for pod in everything for port in container_ports(pod).values()}
            policies = of_kind(found, "NetworkPolicy")
            self.assertTrue(any(policy["spec"]["podSelector"] == {} for policy in policies))
            for policy in policies:
                rules = policy["spec"].get("ingress", []) + policy["spec"].get("egress", [])
                peers = [peer for rule in rules for peer in rule.get("from", rule.get("to", []))]
                selectors = [peer["podSelector"] for peer in peers if "podSelector" in peer]
                for selector in [policy["spec"]["podSelector"]] + selectors:
                    wanted = selector.get("matchLabels", {})
                    # Pods that users start have this label.
                    is_users = wanted == {"app.kubernetes.io/component": "client"}
                    is_there = any(selects(wanted, pod) for pod in everything)
                    self.assertTrue(is_users or is_there, wanted)
                for port in (port for rule in rules for port in rule.get("ports", [])):
                    self.assertIn(port["port"], ports | {53})

    def test_worker_may_reach_and_finds_the_coordinator(self):
        for found in self.each_variant():
            worker = pods(found)["gradsweep-worker"]["spec"]["containers"][0]
            env = {each["name"]: each["value"] for each in worker["env"]}
            services = {each["metadata"]["name"]: each for each in of_kind(found, "Service")}
            url = env["GRADSWEEP_COORDINATOR"]
            name, port = re.fullmatch(r"https://([^:]+):(\d+)", url).groups()
            ports = {each["name"]: each["port"] for each in services[name]["spec"]["ports"]}
            self.assertEqual(ports["grpc"], int(port))
            self.assertRegex(text_of("kubernetes", "README.md"), rf"--host {name}\n")
            stateful, = of_kind(found, "StatefulSet")
            self.assertEqual(services[stateful["spec"]["serviceName"]]["spec"]["clusterIP"], "None")

    def test_mounts_volumes_claims_and_secrets_exist(self):
        readme = text_of("kubernetes", "README.md")
        # Made, and later replaced.
        loop, = set(re.findall(
            r"for who in ([a-z ]+); do\n.*create secret generic gradsweep-\$who ", readme
        ))
        made = {f"gradsweep-{who}" for who in loop.split()}
        for found in self.each_variant():
            claims = {each["metadata"]["name"] for each in of_kind(found, "PersistentVolumeClaim")}
            for name, pod in pods(found).items():
                volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
                workload, = (each for each in found if each["metadata"]["name"] == name
                             and "template" in each.get("spec", {}))
                templates = workload["spec"].get("volumeClaimTemplates", [])
                known = set(volumes) | {claim["metadata"]["name"] for claim in templates}
                mounted = {mount["name"] for container in pod["spec"]["containers"]
                           for mount in container["volumeMounts"]}
                self.assertEqual(mounted, known, name)
                for volume in volumes.values():
                    if "secret" in volume:
                        self.assertIn(volume["secret"]["secretName"], made)
                    elif "persistentVolumeClaim" in volume:
                        self.assertIn(volume["persistentVolumeClaim"]["claimName"], claims)
                    else:
                        self.assertEqual(volume["emptyDir"], {})

    def test_pods_run_as_the_images_user_without_rights(self):
        user, group = map(int, Dockerfile("coordinator").last_of("last", "USER").split(":"))
        for found in self.each_variant():
            for name, pod in pods(found).items():
                context = pod["spec"]["securityContext"]
                self.assertEqual((context["runAsUser"], context["fsGroup"]), (user, group), name)
                self.assertTrue(context["runAsNonRoot"])
                self.assertFalse(pod["spec"]["enableServiceLinks"])
                for container in pod["spec"]["containers"]:
                    rights = container["securityContext"]
                    self.assertTrue(rights["readOnlyRootFilesystem"])
                    self.assertFalse(rights["allowPrivilegeEscalation"])
                    self.assertEqual(rights["capabilities"], {"drop": ["ALL"]})

    def test_probes_ask_ports_that_exist_over_tls(self):
        for found in self.each_variant():
            pod = pods(found)["gradsweep-coordinator"]
            container, = pod["spec"]["containers"]
            paths = {}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                get = container[probe]["httpGet"]
                self.assertIn(get["port"], container_ports(pod))
                self.assertEqual(get["scheme"], "HTTPS")
                paths[probe] = get["path"]
            self.assertEqual(list(paths.values()), ["/live", "/live", "/ready"])
            exposed = Dockerfile("coordinator").last_of("last", "EXPOSE").split()
            self.assertEqual([str(port) for port in container_ports(pod).values()], exposed)

    def test_pods_have_time_to_drain(self):
        for found in self.each_variant():
            grace = {name: pod["spec"].get("terminationGracePeriodSeconds")
                     for name, pod in pods(found).items()}
            self.assertGreater(grace["gradsweep-worker"], worker_drain_seconds())
            self.assertGreater(grace["gradsweep-coordinator"], coordinator_stop_seconds())

    def test_gpus_and_images_fit_the_overlay(self):
        for name, found in variants().items():
            container, = pods(found)["gradsweep-worker"]["spec"]["containers"]
            gpus = container["resources"]["limits"].get("nvidia.com/gpu", 0)
            with self.subTest(variant=name):
                self.assertEqual(gpus, 0 if name.startswith("cpu") else 1)
                if name != "base":
                    stage = "cpu" if name.startswith("cpu") else "cuda"
                    self.assertTrue(container["image"].endswith(f"-{stage}"), container["image"])
                    every = [each["image"] for pod in pods(found).values()
                             for each in pod["spec"]["containers"]]
                    self.assertTrue(all(":" in image for image in every), every)

    def test_prometheus_finds_the_gauges_with_a_clients_token(self):
        for name, found in variants().items():
            monitors = of_kind(found, "ServiceMonitor")
            if not monitors:
                self.assertEqual(name, "base")
                continue
            with self.subTest(variant=name):
                monitor, = monitors
                wanted = monitor["spec"]["selector"]["matchLabels"]
                matching = [each for each in of_kind(found, "Service")
                            if wanted.items() <= each["metadata"].get("labels", {}).items()]
                self.assertEqual(len(matching), 1)
                service = matching[0]["metadata"]
                self.assertEqual(service["labels"][monitor["spec"]["jobLabel"]], "gradsweep")
                endpoint, = monitor["spec"]["endpoints"]
                ports = [port["name"] for port in matching[0]["spec"]["ports"]]
                self.assertIn(endpoint["port"], ports)
                self.assertEqual(endpoint["tlsConfig"]["serverName"], service["name"])
                secret = endpoint["authorization"]["credentials"]
                self.assertEqual(secret, {"name": "gradsweep-client", "key": "token"})

    def test_copies_of_rules_and_dashboard_are_up_to_date(self):
        path = KUBERNETES / "monitoring.py"
        spec = importlib.util.spec_from_file_location("monitoring", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for copy, text in module.files().items():
            self.assertEqual(copy.read_text(), text, f"run {path.relative_to(ROOT)}")
        rule, = documents(module.PROMETHEUS_RULE)
        self.assertEqual(rule["spec"], document(DEPLOY / "prometheus/rules.yml"))
        monitor = document(KUBERNETES / "components/prometheus-operator/service-monitor.yaml")
        self.assertEqual(rule["metadata"]["labels"], monitor["metadata"]["labels"])

    def test_grafanas_sidecar_finds_the_dashboard(self):
        for name, found in variants().items():
            maps = of_kind(found, "ConfigMap")
            self.assertEqual(len(maps), int(name.endswith("with all")), name)
            for each in maps:
                self.assertEqual(each["metadata"]["labels"]["grafana_dashboard"], "1")
                text, = each["data"].values()
                original = json.loads(text_of("grafana", "dashboards", "gradsweep.json"))
                self.assertEqual(json.loads(text), original)

    def test_a_finished_job_goes_since_an_upgrade_cannot_change_it(self):
        readme = text_of("kubernetes", "README.md")
        for found in self.each_variant():
            for job in of_kind(found, "Job"):
                self.assertLessEqual(job["spec"]["ttlSecondsAfterFinished"], 600)
                self.assertIn(f"delete job {job['metadata']['name']} ", readme)

    def test_schemas_hold(self):
        if not kubernetes_validate:
            self.skipTest("kubernetes-validate is not installed")
        for found in self.each_variant():
            for each in found:
                if each["apiVersion"].startswith("monitoring.coreos.com/"):
                    continue
                for version in KUBERNETES_VERSIONS:
                    kubernetes_validate.validate(each, version, strict=True)

    def test_custom_resources_fit_the_operators_models(self):
        if not prometheus_operator:
            self.skipTest("cloudcoil-models-prometheus-operator is not installed")
        for name in ("service-monitor", "rules"):
            each = document(KUBERNETES / f"components/prometheus-operator/{name}.yaml")
            model = getattr(prometheus_operator, each["kind"])
            kept = model.model_validate(each)
            # A field that the model does not know is passed over there.
            kept = kept.model_dump(by_alias=True, exclude_unset=True, mode="json")
            self.assertEqual(kept, each)


class Slurm(unittest.TestCase):
    def directives(self, name):
        return dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", text_of("slurm", f"{name}.sbatch"),
                               re.MULTILINE))

    def test_jobs_are_told_early_enough(self):
        for name, needed in (("worker", worker_drain_seconds()),
                             ("coordinator", coordinator_stop_seconds())):
            signal, at = self.directives(name)["signal"].split("@")
            self.assertEqual(signal, "B:USR1", "the script alone, and no signal of Slurm's own")
            self.assertGreater(int(at), needed)

    def test_a_node_has_one_worker(self):
        self.assertEqual(self.directives("worker")["ntasks-per-node"], "1")

    def test_scripts_are_shell(self):
        paths = files_below("*.sbatch", "slurm/*.sh")
        self.assertEqual(len(paths), 3)
        for path in paths:
            subprocess.run(["bash", "-n", str(path)], check=True)


@functools.lru_cache(maxsize=None)
def help_of(program, *command):
    result = subprocess.run([str(PROGRAMS / program), *command, "--help"], capture_output=True,
                            text=True, check=False, timeout=30)
    assert result.returncode == 0, result.stderr
    return result.stdout


def flags_in(text):
    return set(re.findall(r"^ +(?:-\w, )?(--[a-z][a-z-]*)", text, re.MULTILINE)) | {"--help"}


def commands_in(text):
    listed = text.partition("\nCommands:\n")[2].partition("\n\n")[0]
    return set(re.findall(r"^  ([a-z][a-z-]*) ", listed, re.MULTILINE)) - {"help"}


def code_of(path):
    """The lines that somebody would type: of a text the indented ones and what is in backticks."""
    lines = path.read_text().replace("\\\n", " ").splitlines()
    if path.suffix != ".md":
        return [line for line in lines if not line.lstrip().startswith("#")]
    indented = [line for line in lines if line.startswith("    ")]
    prose = " ".join(line for line in lines if not line.startswith("    "))
    return indented + re.findall(r"`([^`]+)`", prose)


def invocations(path):
    """Program, its words, and whether the line begins with it, for each call in a file."""
    for line in code_of(path):
        line = re.sub(r"\s#\s.*$", "", line).strip()
        try:
            words = shlex.split(line.replace("$(", " ").replace(")", " "))
        except ValueError:
            continue
        # A folder of this name after a flag is no call, nor is a service at the end of a line.
        at = [i for i, word in enumerate(words[:-1])
              if word.rpartition("/")[2] in ("coordinator", "worker")
              and (i == 0 or words[i - 1] == "--" or not words[i - 1].startswith("-"))]
        if not at:
            continue
        rest = words[at[-1] + 1:]
        ends = [i for i, word in enumerate(rest) if word in ("|", "&&", "||", ";", "&", ">")]
        begins = at[-1] == 0 or words[at[-1] - 1] in ("exec", "sudo", "--")
        program = words[at[-1]].rpartition("/")[2]
        yield program, rest[: ends[0]] if ends else rest, begins


@unittest.skipUnless((PROGRAMS / "coordinator").exists() and (PROGRAMS / "worker").exists(),
                     f"no programs in {PROGRAMS}: `make build`, or GRADSWEEP_BIN")
class Options(unittest.TestCase):
    """What the files say to the programs is what the programs know."""

    def setUp(self):
        self.has_credentials = "--credentials" in flags_in(help_of("coordinator"))

    def check_words(self, where, program, words, begins):
        text = help_of(program)
        command = []
        while len(words) > len(command):
            word, known = words[len(command)], commands_in(text)
            if word == COMMAND_OF_CREDENTIALS and not self.has_credentials:
                return
            if begins and known and re.fullmatch(r"[a-z][a-z-]*", word):
                self.assertIn(word, known, f"{where}: {program} {' '.join(words)}")
            if word not in known:
                break
            command.append(word)
            text = help_of(program, *command)
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        if not self.has_credentials:
            flags -= OF_CREDENTIALS
        self.assertLessEqual(flags, flags_in(text), f"{where}: {program} {' '.join(words)}")

    def test_a_flag_is_read_from_help(self):
        self.assertLessEqual({"--listen", "--state"}, flags_in(help_of("coordinator")))
        self.assertLessEqual({"apply", "data"}, commands_in(help_of("coordinator")))
        with self.assertRaises(AssertionError):
            self.check_words("here", "worker", ["--no-such-flag"], True)
        with self.assertRaises(AssertionError):
            self.check_words("here", "coordinator", ["aply", "file"], True)

    def test_calls_in_scripts_and_texts(self):
        paths = [path for folder in FOLDERS
                 for path in files_below(f"{folder}/*.md", f"{folder}/*.sh", f"{folder}/*.sbatch")]
        paths.append(DEPLOY / "README.md")
        seen = 0
        for path in paths:
            for program, words, begins in invocations(path):
                self.check_words(path.relative_to(ROOT), program, words, begins)
                seen += 1
        self.assertGreater(seen, 20, "calls are found at all")

    def test_calls_in_units_and_their_environment(self):
        for name in ("coordinator", "worker"):
            unit = text_of("systemd", f"gradsweep-{name}.service")
            start, = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
            self.assertEqual(start, f"/usr/local/bin/{name} ${name.upper()}_OPTIONS")
            example = text_of("systemd", f"{name}.env.example")
            options, = re.findall(rf"^#?{name.upper()}_OPTIONS=(.*)$", example, re.MULTILINE)
            self.check_words(f"{name}.env.example", name, options.split(), True)

    @needs_yaml
    def test_arguments_in_compose_and_pods(self):
        services = document(DEPLOY / "compose/compose.yaml")["services"]
        for name in ("coordinator", "worker"):
            self.check_words("compose.yaml", name, services[name].get("command", []), True)
        for found in variants().values():
            for pod in pods(found).values():
                for container in pod["spec"]["containers"]:
                    image = re.match(r"gradsweep/(coordinator|worker)\b", container["image"])
                    self.check_words("pods", image.group(1), container.get("args", []), True)

    def test_variables_are_ones_that_the_programs_read(self):
        known = help_of("coordinator") + help_of("worker") + help_of("coordinator", "apply")
        known = set(re.findall(r"GRADSWEEP_[A-Z_]*[A-Z]", known)) | OTHER_VARIABLES
        if not self.has_credentials:
            known |= VARIABLES_OF_CREDENTIALS
        paths = [path for folder in FOLDERS for path in files_below(f"{folder}/**/*")]
        used = {(name, path.relative_to(ROOT)) for path in paths
                for name in re.findall(r"GRADSWEEP_[A-Z_]*[A-Z]", path.read_text())}
        self.assertGreater(len(used), 20)
        self.assertEqual({(name, where) for name, where in used if name not in known}, set())

    def test_credentials_are_known(self):
        if not self.has_credentials:
            self.skipTest("these programs know no --credentials: calls with it are not checked")
        self.assertLessEqual(OF_CREDENTIALS, flags_in(help_of("coordinator")))
        self.assertIn("--credentials", flags_in(help_of("worker")))
        self.assertIn(COMMAND_OF_CREDENTIALS, commands_in(help_of("coordinator")))


class Files(unittest.TestCase):
    @needs_yaml
    def test_every_yaml_file_is_well_formed(self):
        paths = files_below("*.yaml", "*.yml")
        self.assertGreater(len(paths), 15)
        for path in paths:
            with self.subTest(path=path):
                self.assertTrue(documents(path))

    def test_every_folder_says_what_to_type(self):
        for folder in FOLDERS:
            readme = text_of(folder, "README.md")
            self.assertIn("\n    ", readme, f"{folder}: a command")
            self.assertIn("## What was run", readme)
            for path in re.findall(r"\bdeploy/[\w./-]*\w", readme):
                self.assertTrue((ROOT / path).exists(), f"{folder}: {path}")

    def test_scripts_that_are_run_can_be(self):
        for name in ("check.sh", "lint-optional.sh", "docker/health.sh", "slurm/node.sh"):
            self.assertTrue(os.access(DEPLOY / name, os.X_OK), name)


if __name__ == "__main__":
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    result = unittest.TextTestRunner(verbosity=1).run(suite)
    for test, reason in result.skipped:
        print(f"skipped: {test.id().partition('.')[2]}: {reason}")
    # A test with several parts of which one was skipped or failed is one test.
    whole = [{getattr(test, "test_case", test) for test, _ in found}
             for found in (result.failures + result.errors, result.skipped)]
    failed, skipped = len(whole[0]), len(whole[1] - whole[0])
    print(f"{result.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)

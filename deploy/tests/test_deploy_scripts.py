"""Tests of the scripts of deploy/slurm and deploy/docker with stand-ins for Slurm, curl and the
programs: who is told what when a job's time ends, and what a script leaves behind.

Run by `make test`; prints `N passed, N failed` at the end.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

DEPLOY = pathlib.Path(__file__).resolve().parent.parent
DEADLINE_SECONDS = 30.0

# At each SIGTERM it says whether its trainer lives, which ignores that. It drains until it may leave.
WORKER = """#!/usr/bin/env bash
echo "$*" >"$OUT/worker-args"
[ "${WORKER_FAILS:-}" = "" ] || exit "$WORKER_FAILS"
trap 'kill -0 "$trainer" && echo trainer lives >>"$OUT/told"' TERM
(trap '' TERM; touch "$OUT/ignores"; exec sleep 600) &
trainer=$!
until [ -e "$OUT/ignores" ]; do sleep 0.05; done
echo "$trainer" >"$OUT/started"
until [ -e "$OUT/leave" ]; do sleep 0.05; done
kill -KILL "$trainer"
exit 143
"""
# One that finds endpoint.json has found the lock of another.
COORDINATOR = """#!/usr/bin/env bash
echo "$* $GRADSWEEP_CREDENTIALS $GRADSWEEP_LISTEN" >"$OUT/coordinator-args"
[ "${COORDINATOR_FAILS:-}" = "" ] || exit "$COORDINATOR_FAILS"
endpoint=$GRADSWEEP_STATE/endpoint.json
[ ! -e "$endpoint" ] || exit 1
trap 'echo TERM >>"$OUT/told"' TERM
mkdir -p "$GRADSWEEP_STATE"
printf '{\n  "grpc": "0.0.0.0:%s",\n  "http": "0.0.0.0:9600",\n  "tls": %s,\n  "pid": %s\n}\n' \\
    "${BOUND:-50051}" "${TLS:-true}" "$$" >"$endpoint.new"
mv "$endpoint.new" "$endpoint"
until [ -e "$OUT/told" ]; do sleep 0.05; done
rm "$endpoint"
exit 143
"""
# As srun: SIGTERM is the end of its tasks at once. `scancel` says USR1 to the step.
SRUN = """#!/usr/bin/env bash
echo "$*" >"$OUT/srun-args"
echo "$GRADSWEEP_COORDINATOR $GRADSWEEP_CREDENTIALS $GRADSWEEP_ARTIFACTS" >"$OUT/srun-env"
trap 'echo killed >"$OUT/told"; exit 137' TERM
trap 'echo drained >"$OUT/told"; exit 0' USR1
echo $$ >"$OUT/started"
while :; do sleep 0.05; done
"""
SCANCEL = """#!/usr/bin/env bash
echo "$*" >"$OUT/scancel-args"
kill -USR1 "$(cat "$OUT/started")"
"""
CURL = """#!/usr/bin/env bash
echo "$*" >"$OUT/curl-args"
exit "${CURL_STATUS:-0}"
"""


def write_executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


class Case(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.out = pathlib.Path(holder.name).resolve()
        self.home = self.out / "home with space"
        release = self.home / "target/release"
        write_executable(release / "worker", WORKER)
        write_executable(release / "coordinator", COORDINATOR)
        (self.home / "deploy").mkdir()
        shutil.copytree(DEPLOY / "slurm", self.home / "deploy/slurm")
        for name, text in (("srun", SRUN), ("scancel", SCANCEL), ("curl", CURL)):
            write_executable(self.out / "bin" / name, text)
        self.run_folder = self.out / "run"
        for name in ("worker", "coordinator"):
            (self.run_folder / "credentials" / name).mkdir(parents=True)

    def environment(self, **extra):
        env = {
            "PATH": f"{self.out / 'bin'}:{os.environ['PATH']}",
            "OUT": str(self.out),
            "GRADSWEEP_HOME": str(self.home),
            "GRADSWEEP_RUN": str(self.run_folder),
            "SLURM_JOB_ID": "7",
            "SLURMD_NODENAME": "node1",
        }
        env.update(extra)
        return env

    def start(self, name, *args, **extra):
        process = subprocess.Popen(
            ["bash", str(self.home / "deploy/slurm" / name), *args],
            env=self.environment(**extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.communicate()

    def written(self, name):
        """What a stand-in wrote, once it has."""
        path = self.out / name
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not path.exists() or not path.read_text().endswith("\n"):
            self.assertLess(time.monotonic(), deadline, f"never saw {name}")
            time.sleep(0.01)
        return path.read_text().strip()

    def ends(self, process, status):
        _, stderr = process.communicate(timeout=DEADLINE_SECONDS)
        self.assertEqual(process.returncode, status, stderr)
        return stderr


class Node(Case):
    def worker_leaves(self, process):
        (self.out / "leave").touch()
        self.ends(process, 0)
        return self.written("told").splitlines()

    def test_usr1_to_the_whole_step_drains_the_worker_and_spares_its_trainer(self):
        process = self.start("node.sh", "--devices", "cpu", GRADSWEEP_RUN=str(self.out / "a run"))
        self.written("started")
        os.killpg(process.pid, signal.SIGUSR1)
        self.assertEqual(self.written("told"), "trainer lives")
        self.assertEqual(self.worker_leaves(process), ["trainer lives"])
        state = self.out / "a run/workers/7/node1"
        self.assertTrue(state.is_dir())
        self.assertEqual(self.written("worker-args"), f"--state {state} --devices cpu")

    def test_sigterm_to_the_whole_step_leaves_the_worker_time_to_drain(self):
        process = self.start("node.sh")
        self.written("started")
        os.killpg(process.pid, signal.SIGTERM)
        self.assertEqual(self.written("told"), "trainer lives")
        self.assertEqual(self.worker_leaves(process), ["trainer lives"])

    def test_a_worker_that_drains_is_not_told_again(self):
        process = self.start("node.sh")
        self.written("started")
        for told in (signal.SIGTERM, signal.SIGUSR1):
            os.killpg(process.pid, told)
            self.written("told")
        self.assertEqual(self.worker_leaves(process), ["trainer lives"])

    def test_a_workers_failure_is_the_tasks(self):
        self.ends(self.start("node.sh", WORKER_FAILS="3"), 3)


class WorkerJob(Case):
    def setUp(self):
        super().setUp()
        self.address = self.run_folder / "coordinator.url"
        self.address.write_text("https://node1:50051\n")

    def test_the_end_of_the_walltime_drains_the_steps(self):
        process = self.start("worker.sbatch", "--slots-per-device", "2")
        self.written("started")
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(self.written("told"), "drained")
        self.ends(process, 0)
        self.assertEqual(self.written("scancel-args"), "--signal=USR1 7")
        self.assertTrue(
            self.written("srun-args").endswith("deploy/slurm/node.sh --slots-per-device 2")
        )
        expected = f"https://node1:50051 {self.run_folder}/credentials/worker"
        self.assertEqual(self.written("srun-env"), f"{expected} {self.run_folder}/artifacts")

    def test_it_outlives_a_sigterm_which_slurm_sends_to_its_steps_too(self):
        process = self.start("worker.sbatch")
        step = int(self.written("started"))
        process.send_signal(signal.SIGTERM)
        os.kill(step, signal.SIGUSR1)
        self.ends(process, 0)
        self.assertFalse((self.out / "scancel-args").exists())

    def test_its_step_has_the_jobs_cpus(self):
        for cpus, options in (("6", ["--cpus-per-task=6"]), ("", [])):
            process = self.start("worker.sbatch", SLURM_CPUS_PER_TASK=cpus)
            os.kill(int(self.written("started")), signal.SIGUSR1)
            self.ends(process, 0)
            given = self.written("srun-args").split()
            self.assertEqual([word for word in given if word.startswith("--cpus")], options)
            (self.out / "started").unlink()

    def test_it_waits_for_a_coordinator_that_starts_later(self):
        self.address.unlink()
        process = self.start("worker.sbatch")
        self.address.write_text("https://node2:50051\n")
        self.assertIn("https://node2:50051 ", self.written("srun-env"))
        self.written("started")
        process.send_signal(signal.SIGUSR1)
        self.ends(process, 0)

    def test_the_clients_environment_does_not_reach_the_worker(self):
        clients = {"GRADSWEEP_COORDINATOR": "https://old:1", "GRADSWEEP_CREDENTIALS": "client"}
        process = self.start("worker.sbatch", **clients)
        seen = self.written("srun-env")
        self.assertTrue(
            seen.startswith(f"https://node1:50051 {self.run_folder}/credentials/worker "), seen
        )
        self.written("started")
        process.send_signal(signal.SIGUSR1)
        self.ends(process, 0)

    def test_without_credentials_it_says_what_makes_them(self):
        process = self.start("worker.sbatch", GRADSWEEP_RUN="/nowhere")
        self.assertIn("coordinator init-tls", self.ends(process, 2))


class CoordinatorJob(Case):
    def setUp(self):
        super().setUp()
        self.address = self.run_folder / "coordinator.url"

    def says(self, url):
        """Waits for this address."""
        self.written("run/coordinator.url")
        self.assertEqual(self.address.read_text(), f"{url}\n")

    def stops(self, process):
        process.send_signal(signal.SIGUSR1)
        self.ends(process, 0)
        self.assertEqual(self.written("told"), "TERM")

    def test_it_tells_workers_its_address_while_it_runs(self):
        clients = {"GRADSWEEP_CREDENTIALS": "client"}
        process = self.start("coordinator.sbatch", "--sweep", "a.yaml", **clients)
        self.says("https://node1:50051")
        self.stops(process)
        self.assertFalse(self.address.exists())
        expected = f"--sweep a.yaml {self.run_folder}/credentials/coordinator 0.0.0.0:50051"
        self.assertEqual(self.written("coordinator-args"), expected)
        self.assertTrue((self.run_folder / "state").is_dir())

    def test_the_address_is_what_the_program_bound(self):
        state = str(self.out / "local disk")
        arguments = ["coordinator.sbatch", "--listen", "0.0.0.0:0"]
        process = self.start(*arguments, BOUND="40123", TLS="false", GRADSWEEP_STATE=state)
        self.says("http://node1:40123")
        self.stops(process)

    def test_a_second_job_leaves_the_address_of_the_first(self):
        first = self.start("coordinator.sbatch")
        self.says("https://node1:50051")
        self.ends(self.start("coordinator.sbatch", SLURM_JOB_ID="8", SLURMD_NODENAME="node2"), 1)
        self.says("https://node1:50051")
        self.stops(first)
        self.assertFalse(self.address.exists())

    def test_an_address_that_another_wrote_since_stays(self):
        process = self.start("coordinator.sbatch")
        self.says("https://node1:50051")
        self.address.write_text("https://login1:50051\n")
        self.stops(process)
        self.says("https://login1:50051")

    def test_a_sigterm_that_slurm_sends_to_the_program_too_is_not_passed_on(self):
        process = self.start("coordinator.sbatch")
        self.says("https://node1:50051")
        os.killpg(process.pid, signal.SIGTERM)
        self.ends(process, 0)
        self.assertEqual(self.written("told"), "TERM")

    def test_a_state_as_an_argument_is_refused_with_what_to_say(self):
        for arguments in (["--state", "here"], ["--state=here"]):
            stderr = self.ends(self.start("coordinator.sbatch", *arguments), 2)
            self.assertIn("GRADSWEEP_STATE", stderr)

    def test_its_failure_is_the_jobs_and_says_no_address(self):
        self.ends(self.start("coordinator.sbatch", COORDINATOR_FAILS="2"), 2)
        self.assertFalse(self.address.exists())

    def test_a_checkout_that_is_not_built_is_named(self):
        process = self.start("coordinator.sbatch", GRADSWEEP_HOME="/nowhere")
        self.assertIn("/nowhere/target/release/coordinator", self.ends(process, 2))


class Health(Case):
    def ask(self, *args, **extra):
        command = [str(DEPLOY / "docker/health.sh"), *args]
        result = subprocess.run(command, env=self.environment(**extra), check=False, timeout=30)
        return result.returncode, self.written("curl-args")

    def test_asks_the_port_of_the_environment(self):
        status, asked = self.ask("/live", GRADSWEEP_HTTP="0.0.0.0:9700")
        self.assertEqual(status, 0)
        self.assertTrue(asked.endswith(" http://127.0.0.1:9700/live"), asked)

    def test_credentials_mean_tls(self):
        status, asked = self.ask(GRADSWEEP_HTTP="[::]:9600", GRADSWEEP_CREDENTIALS="/credentials")
        self.assertEqual(status, 0)
        self.assertTrue(asked.endswith(" https://127.0.0.1:9600/ready"), asked)
        self.assertNotIn("--cert", asked)

    def test_mutual_tls_takes_a_clients_certificate(self):
        extra = {"GRADSWEEP_CREDENTIALS": "/credentials", "GRADSWEEP_HEALTH_CREDENTIALS": "/client"}
        self.assertIn("--cert /client/cert.pem --key /client/key.pem", self.ask(**extra)[1])

    def test_whatever_fails_is_status_1(self):
        for extra in ({}, {"GRADSWEEP_CREDENTIALS": "/credentials"}):
            self.assertEqual(self.ask(CURL_STATUS="22", **extra)[0], 1)


if __name__ == "__main__":
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    result = unittest.TextTestRunner(verbosity=1).run(suite)
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)

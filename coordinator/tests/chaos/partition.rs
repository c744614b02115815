//! A coordinator and a worker in network namespaces of their own, joined by a pair of virtual
//! devices whose link goes down: for less than a lease, for longer with another worker to take
//! over, and for longer with none. Needs root and `ip`; skipped with a message without.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::processes::{Host, Process, Training, wait_for};
use crate::storm::Sweep;
use crate::tables::check_attempts;
use crate::{apply_all, settle, stub_yaml, tell, turn};

/// The cut ends before the 8 s of a lease do, after the longest silence before it and with the time
/// in which a connection tries again: that doubles, 0.2 s, 0.4 s, …
const CUT_SHORT: Duration = Duration::from_secs(2);
const CUT_LONG: Duration = Duration::from_secs(15);
/// A private address range that is seen in these namespaces alone.
const COORDINATOR: &str = "10.213.77.1";
const WORKER: &str = "10.213.77.2";

fn ip(arguments: &str) -> Result<Output, String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("`ip` cannot be run: {error}"))?;
    match output.status.success() {
        true => Ok(output),
        false => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(format!("`ip {arguments}` fails: {why}"))
        }
    }
}

/// Two namespaces and the link between them; removed when it is dropped.
struct Network {
    coordinator: String,
    worker: String,
}

impl Network {
    /// What is missing, where it cannot be made.
    fn new() -> Result<Network, String> {
        let id = std::process::id();
        let network = Network { coordinator: format!("gs{id}c"), worker: format!("gs{id}w") };
        let (c, w) = (&network.coordinator, &network.worker);
        for namespace in [c, w] {
            ip(&format!("netns add {namespace}"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
        }
        ip(&format!("-n {c} link add {c} type veth peer name {w} netns {w}"))?;
        for (namespace, address) in [(c, COORDINATOR), (w, WORKER)] {
            ip(&format!("-n {namespace} address add {address}/30 dev {namespace}"))?;
            ip(&format!("-n {namespace} link set {namespace} up"))?;
        }
        Ok(network)
    }

    fn set_link(&self, state: &str) {
        let name = &self.coordinator;
        ip(&format!("-n {name} link set {name} {state}")).expect("the link obeys");
    }

    /// Cuts the link for this long.
    fn cut(&self, length: Duration) {
        self.set_link("down");
        // The length of the cut is what is tested.
        std::thread::sleep(length);
        self.set_link("up");
    }

    fn within(namespace: &str) -> Vec<String> {
        ["ip", "netns", "exec", namespace].map(str::to_owned).to_vec()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in [&self.coordinator, &self.worker] {
            // It may not have been made.
            let _ = ip(&format!("netns delete {namespace}"));
        }
    }
}

/// A coordinator with a sweep, and a worker behind the link.
struct Scene {
    host: Host,
    sweeps: [Sweep; 1],
    coordinator: Process,
    distant: Process,
}

impl Scene {
    fn start(network: &Network, name: &'static str, seeds: u32) -> Scene {
        let mut host = Host::new(name, Training::Stub);
        host.before = Network::within(&network.coordinator);
        let file = host.write(name, &stub_yaml(name, &scene_yaml(seeds)));
        let sweeps = [Sweep { name, file, edited: None, is_exact: true }];
        let coordinator = host.coordinator("store");
        apply_all(&host, &sweeps);
        let url = format!("http://{COORDINATOR}:{}", host.port);
        let distant = host.worker("distant", 2, &Network::within(&network.worker), &url);
        wait_for("two trials to run", || host.count("store", name, "running") == 2);
        Scene { host, sweeps, coordinator, distant }
    }

    fn trials(&self) -> Vec<Value> {
        let name = self.sweeps[0].name;
        let trials = self.host.tables("store", name).trials;
        trials.keys().map(|trial| self.host.trial("store", name, trial)).collect()
    }

    /// Epochs that the coordinator has in all.
    fn epochs(&self) -> usize {
        let histories = self.host.tables("store", self.sweeps[0].name).epochs;
        histories.values().map(Vec::len).sum()
    }

    /// More epochs come, of attempts that go on.
    fn wait_for_epochs(&self) {
        let before = self.epochs();
        wait_for("more epochs", || self.epochs() > before);
    }

    /// One of the coordinator's counters.
    fn counter(&self, name: &str) -> f64 {
        let endpoint = std::fs::read(self.host.folder.join("store/endpoint.json"));
        let endpoint = serde_json::from_slice::<Value>(&endpoint.expect("it serves"));
        let http = endpoint.expect("JSON")["http"].as_str().expect("an address").to_owned();
        let (address, port) = http.rsplit_once(':').expect("a port");
        let script = format!(
            "exec 3<>/dev/tcp/{address}/{port}; \
             printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
        );
        let (first, rest) = self.host.before.split_first().expect("a namespace");
        let page = Command::new(first).args(rest).args(["bash", "-c", &script]).output();
        let page = String::from_utf8(page.expect("bash runs").stdout).expect("text");
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("no {name} in {page}"));
        value.parse().expect("a number")
    }

    /// Everything is trained to its end; then all leave. Gives the trials.
    fn finish(mut self, others: &mut [Process]) -> Vec<Value> {
        self.host.set_pace(0);
        settle(&self.host, "store", &self.sweeps);
        self.host.tables("store", self.sweeps[0].name).check_histories();
        let trials = self.trials();
        trials.iter().for_each(check_attempts);
        let processes = others.iter_mut().chain([&mut self.distant, &mut self.coordinator]);
        for process in processes {
            process.signal(Signal::TERM);
            assert_eq!(process.wait(), Some(143), "{}", process.name);
        }
        self.host.expect_none_left();
        trials
    }
}

/// Longer than any cut; who has seen enough sets another pace.
fn scene_yaml(seeds: u32) -> String {
    format!("base: {{epochs: 2000}}\nseeds: {seeds}\n")
}

fn attempts(trial: &Value) -> usize {
    trial["attempts"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_partition_costs_what_was_leased_again_and_nothing_else() {
    let _turn = turn();
    let network = match Network::new() {
        Ok(network) => network,
        Err(missing) => return tell(&format!("partitions are not tested here: {missing}")),
    };
    a_cut_shorter_than_a_lease_costs_nothing(&network);
    a_long_cut_costs_nothing_where_nobody_took_over(&network);
    a_worker_that_was_replaced_takes_new_work(&network);
}

fn a_cut_shorter_than_a_lease_costs_nothing(network: &Network) {
    let scene = Scene::start(network, "short", 2);
    scene.wait_for_epochs();
    network.cut(CUT_SHORT);
    scene.wait_for_epochs();
    assert_eq!(scene.counter("gradsweep_lease_expirations_total"), 0.0);
    let trials = scene.finish(&mut []);
    assert!(trials.iter().all(|trial| attempts(trial) == 1), "{trials:#?}");
}

fn a_long_cut_costs_nothing_where_nobody_took_over(network: &Network) {
    let scene = Scene::start(network, "long", 2);
    network.cut(CUT_LONG);
    assert!(scene.counter("gradsweep_lease_expirations_total") > 0.0, "the leases ran out");
    let up = Instant::now();
    scene.wait_for_epochs();
    tell(&format!(
        "after {} s without a link reports came {:.1} s later",
        CUT_LONG.as_secs(),
        up.elapsed().as_secs_f64()
    ));
    let trials = scene.finish(&mut []);
    assert!(trials.iter().all(|trial| attempts(trial) == 1), "{trials:#?}");
}

fn a_worker_that_was_replaced_takes_new_work(network: &Network) {
    let scene = Scene::start(network, "replaced", 2);
    let host = &scene.host;
    let lost = scene.trials();
    network.set_link("down");
    let cut = Instant::now();
    let mut others = [host.worker("heir", 2, &host.before, &host.url())];
    let name = "replaced";
    wait_for("the trials that were cut off to run elsewhere", || {
        let trials = scene.trials();
        trials.iter().all(|trial| trial["state"] == "running" && attempts(trial) == 2)
    });
    let took = cut.elapsed();
    tell(&format!("trials behind a cut ran elsewhere after {:.1} s", took.as_secs_f64()));
    // More work, for which only the worker that comes back has slots.
    let more = host.write("more", &stub_yaml(name, &scene_yaml(4)));
    host.ask(&["apply", &more.display().to_string()]).expect("it is applied");
    let distant = host.worker_id("distant").expect("it has attached");
    network.set_link("up");
    wait_for("the worker that was replaced to take new work", || {
        let trials = scene.trials();
        let is_new = |trial: &&Value| lost.iter().all(|lost| lost["trial"] != trial["trial"]);
        let mut new = trials.iter().filter(is_new);
        new.all(|trial| trial["state"] == "running" && trial["attempts"][0]["worker"] == *distant)
    });
    wait_for("what was trained behind the cut to come too late", || {
        scene.counter("gradsweep_stale_reports_total") > 0.0
    });
    let trials = scene.finish(&mut others);
    for trial in &trials {
        let was_lost = lost.iter().any(|lost| lost["trial"] == trial["trial"]);
        assert_eq!(attempts(trial), if was_lost { 2 } else { 1 }, "{trial:#}");
    }
}

//! What the command line comes to, checked before anything is locked, bound or started.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use common::config::Data;
use common::data;
use common::spec::{self, Sweep};
use common::telemetry::chain;

use crate::edge;
use crate::local::{self, Local};
use crate::options::{Global, ServeOptions, SweepOptions};

/// A checked request to serve.
#[derive(Clone, Debug)]
pub struct Config {
    /// Sweeps to apply, in order.
    pub sweeps: Vec<Sweep>,
    /// The state directory.
    pub state: PathBuf,
    /// The worker on this host, where one is wanted.
    pub local: Option<Local>,
    /// Ends when every sweep given is done.
    pub exit_when_done: bool,
    /// Address for gRPC.
    pub listen: SocketAddr,
    /// Address for HTTP.
    pub http: SocketAddr,
    /// Who may ask.
    pub edge: edge::Options,
}

/// Everything that is wrong with what was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistakes(pub Vec<String>);

impl Config {
    /// Reads and checks everything. Gives the warnings of the sweep files, or all mistakes.
    pub fn check(
        global: &Global,
        serve: &ServeOptions,
    ) -> Result<(Config, Vec<spec::Warning>), Mistakes> {
        let mut mistakes = Vec::new();
        let (sweeps, warnings) = read_sweeps(serve, &mut mistakes);
        check_set_targets(&serve.reading, &sweeps, &mut mistakes);
        if serve.exit_when_done && serve.sweep.is_empty() {
            mistakes.push("error: --exit-when-done needs a --sweep that can be done".into());
        }
        if serve.strict && !serve.exit_when_done {
            mistakes.push("error: --strict needs --exit-when-done, whose status it changes".into());
        }
        let local = serve.local.and_then(|slots| local_worker(global, serve, slots, &mut mistakes));
        if local.is_some() {
            let sets = sweeps.iter().map(|sweep| sweep.data).collect();
            check_data(sets, serve.data.as_deref(), &mut mistakes);
        }
        let edge = edge::Options {
            credentials: global.credentials.clone(),
            mutual_tls: serve.mutual_tls,
            insecure: serve.insecure,
            // A variable that is empty names nothing.
            http_names: serve.http_name.iter().filter(|name| !name.is_empty()).cloned().collect(),
        };
        edge.check(serve.listen, serve.http, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(Mistakes(mistakes));
        }
        let config = Config {
            sweeps,
            state: global.state.clone(),
            local,
            exit_when_done: serve.exit_when_done,
            listen: serve.listen,
            http: serve.http,
            edge,
        };
        Ok((config, warnings))
    }
}

fn read_sweeps(
    serve: &ServeOptions,
    mistakes: &mut Vec<String>,
) -> (Vec<Sweep>, Vec<spec::Warning>) {
    let options = serve.reading.to_spec();
    let mut sweeps: Vec<Sweep> = Vec::new();
    let mut warnings = Vec::new();
    for file in &serve.sweep {
        let name = file.display().to_string();
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                mistakes.push(format!("error: --sweep: cannot read `{name}`: {error}"));
                continue;
            }
        };
        match spec::load(&text, &name, &options) {
            Ok((sweep, _)) if sweeps.iter().any(|other| other.name == sweep.name) => {
                let twice = &sweep.name;
                mistakes.push(format!("error: --sweep: `{name}` is a second sweep `{twice}`"));
            }
            Ok((sweep, more)) => {
                sweeps.push(sweep);
                warnings.extend(more);
            }
            Err(errors) => mistakes.push(errors.render(io::stderr().is_terminal())),
        }
    }
    (sweeps, warnings)
}

/// A `--set` for a sweep that is not given would be passed over in silence.
pub(crate) fn check_set_targets(
    reading: &SweepOptions,
    sweeps: &[Sweep],
    mistakes: &mut Vec<String>,
) {
    // Without every file read, and with names that change, the targets are not known.
    let renames = |flag: &String| flag.starts_with("name=") || flag.contains(":name=");
    if !mistakes.is_empty() || reading.set.iter().any(renames) {
        return;
    }
    for flag in &reading.set {
        let Some(target) = spec::set_target(flag) else { continue };
        let overlaid = reading.overlay.as_ref().map(|overlay| format!("{target}-{overlay}"));
        let is_target = |sweep: &Sweep| {
            let name = sweep.name.as_str();
            name == target || overlaid.as_deref() == Some(name)
        };
        if !sweeps.iter().any(is_target) {
            let names = sweeps.iter().map(|sweep| format!("`{}`", sweep.name));
            let names = names.collect::<Vec<_>>().join(", ");
            let names = if names.is_empty() { "none".into() } else { names };
            mistakes.push(format!(
                "error: --set {flag}: no sweep `{target}` is given; accepted: {names}"
            ));
        }
    }
}

fn local_worker(
    global: &Global,
    serve: &ServeOptions,
    slots_per_device: Option<u32>,
    mistakes: &mut Vec<String>,
) -> Option<Local> {
    if slots_per_device == Some(0) {
        mistakes.push("error: --local 0: 1 and more slots per device are accepted".into());
        return None;
    }
    if let Err(error) = local::check_trainer() {
        mistakes.push(format!("error: {}", chain(&error)));
    }
    match local::program() {
        Ok(program) => Some(Local {
            program,
            slots_per_device,
            data: serve.data.clone(),
            artifacts: serve.artifacts.clone(),
            state: global.state.join("worker"),
        }),
        Err(error) => {
            mistakes.push(format!("error: {}", chain(&error)));
            None
        }
    }
}

/// The local worker would only wait for data that is not there.
fn check_data(sets: BTreeSet<Data>, directory: Option<&Path>, mistakes: &mut Vec<String>) {
    for set in sets {
        if let Err(error) = data::digest(set, directory) {
            mistakes.push(format!("error: {}", chain(&error)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Cli;

    const SWEEP: &str = "name: tiny\nmodel: mlp\ndata: strokes\ngrid: {depth: [2, 3]}\n";

    fn mistakes(arguments: &[&str]) -> String {
        let cli = Cli::read(std::iter::once("coordinator").chain(arguments.iter().copied()));
        let cli = cli.expect("parses");
        let mistakes = Config::check(&cli.global, &cli.serve).map(drop).expect_err("refused");
        mistakes.0.join("\n")
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let bad = folder.path().join("bad.yaml");
        fs::write(&bad, "name: bad\nmodel: mlp\ndata: strokes\nbase: {lr: fast, wdith: 3}\n")
            .expect("writable");
        let (bad, absent) = (bad.display().to_string(), "/nowhere/x.yaml");
        let text = mistakes(&["--sweep", &bad, "--sweep", absent, "--local", "0"]);
        for expected in ["lr", "wdith", "cannot read `/nowhere/x.yaml`", "--local 0"] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
    }

    #[test]
    fn what_would_be_passed_over_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tiny.yaml");
        fs::write(&file, SWEEP).expect("writable");
        let file = file.display().to_string();
        let text = mistakes(&["--sweep", &file, "--set", "other:seeds=2"]);
        assert!(text.contains("no sweep `other` is given; accepted: `tiny`"), "{text}");
        let text = mistakes(&["--sweep", &file, "--sweep", &file]);
        assert!(text.contains("is a second sweep `tiny`"), "{text}");
        assert!(mistakes(&["--exit-when-done"]).contains("--exit-when-done needs a --sweep"));
        assert!(mistakes(&["--strict"]).contains("--strict needs --exit-when-done"));
        let text = mistakes(&["--local"]);
        assert!(text.contains("no worker program at"), "{text}");
        assert!(text.contains("no trainer program at"), "{text}");
    }

    /// Each data set that some sweep needs, by the first file that is missing or wrong.
    #[test]
    fn data_that_is_missing_or_broken_is_a_mistake() {
        let folder = tempfile::tempdir().expect("a folder");
        let check = |sets: &[Data]| {
            let mut mistakes = Vec::new();
            check_data(sets.iter().copied().collect(), Some(folder.path()), &mut mistakes);
            mistakes.join("\n")
        };
        assert_eq!(check(&[Data::Strokes]), "");
        let text = check(&[Data::Mnist, Data::Cifar10]);
        for name in ["mnist", "cifar10"] {
            let command = format!("`coordinator data fetch {name}` downloads it");
            assert!(text.contains(&command), "{command} in {text}");
        }
        let cifar = folder.path().join("cifar-10");
        fs::create_dir(&cifar).expect("writable");
        fs::write(cifar.join("data_batch_1.bin"), [1; 3072]).expect("writable");
        fs::write(cifar.join("test_batch.bin"), [1; 3073]).expect("writable");
        let file = cifar.join("data_batch_1.bin");
        let expected = format!(
            "error: {} has 3072 bytes of content, not a multiple of 3073 (a label and an image)",
            file.display()
        );
        assert_eq!(check(&[Data::Cifar10]), expected);
        assert!(check(&[Data::ClutteredMnist]).contains("data set `mnist`: no `train-images"));
    }

    #[test]
    fn overlay_and_overrides_reach_the_sweeps() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tiny.yaml");
        fs::write(&file, format!("{SWEEP}overlays: {{small: {{grid.depth: [2]}}}}\n"))
            .expect("writable");
        let file = file.display().to_string();
        let arguments =
            ["coordinator", "--sweep", &file, "--overlay", "small", "--set", "tiny:seeds=3"];
        let cli = Cli::read(arguments).expect("parses");
        let (config, _) = Config::check(&cli.global, &cli.serve).expect("accepted");
        assert_eq!(config.sweeps[0].name.as_str(), "tiny-small");
        assert_eq!(config.sweeps[0].expand().count(), 3);
    }
}

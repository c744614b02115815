//! The command line of server and client.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser};

use crate::cli::Command;

/// Expands sweeps, serves workers and clients, shows results
#[derive(Parser, Debug)]
#[command(name = "coordinator", version, max_term_width = 100)]
#[command(
    after_help = "Without a command it serves. SIGINT and SIGTERM stop cleanly: nothing more \
is handed out, the local worker checkpoints and hands back what it trains, and everything is \
stored; the same command run again continues. A second signal stops at once.

Exit status: 0 done, no failed trial; 1 what was asked for failed, failed trials included; 2 a \
mistake in what was asked; 130, 143 after a stop by SIGINT, SIGTERM.

With --credentials both listeners speak TLS, workers show an agent's token and clients a client's; \
without, they stay on this host. A client's token is that of --credentials, GRADSWEEP_TOKEN or the \
file that GRADSWEEP_TOKEN_FILE names.

Logs go to stderr: GRADSWEEP_LOG is a filter such as `debug`, GRADSWEEP_LOG_FORMAT is `text` or \
`json`."
)]
pub struct Cli {
    /// For every command.
    #[command(flatten)]
    pub global: Global,
    /// For serving.
    #[command(flatten)]
    pub serve: ServeOptions,
    /// None: serve.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What every command has.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Directory of the store, the lock and the ports
    #[arg(long, value_name = "DIR", global = true, env = "GRADSWEEP_STATE", display_order = 100)]
    #[arg(default_value = "./gradsweep-state")]
    pub state: PathBuf,
    /// Folder with certificate, key, CA and token, as `init-tls` makes it: of the coordinator for
    /// serving, of a client for the commands that ask one
    #[arg(long, value_name = "DIR", global = true, env = "GRADSWEEP_CREDENTIALS")]
    #[arg(display_order = 100)]
    pub credentials: Option<PathBuf>,
}

/// How sweep files are read.
#[derive(Args, Clone, Debug)]
pub struct SweepOptions {
    /// Applies an overlay of the sweep files; `-NAME` is appended to the sweeps' names
    #[arg(long, value_name = "NAME", env = "GRADSWEEP_OVERLAY")]
    pub overlay: Option<String>,
    /// Overrides one entry of the sweep files, for example `base.width=128`, `grid.depth=[2,10]`;
    /// `SWEEP:KEY=VALUE` of one sweep only. Can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Refuses sweeps of more trials, counted before `exclude` and collapsing
    #[arg(long, value_name = "N", env = "GRADSWEEP_MAX_TRIALS")]
    #[arg(default_value_t = common::spec::TRIALS_MAX)]
    pub max_trials: u64,
}

impl SweepOptions {
    /// For the sweep file's reader.
    pub fn to_spec(&self) -> common::spec::Options {
        common::spec::Options {
            overlay: self.overlay.clone(),
            sets: self.set.clone(),
            trials_max: self.max_trials,
        }
    }
}

/// Options of the server.
#[derive(Args, Clone, Debug)]
pub struct ServeOptions {
    /// Sweep file to apply. Can be repeated
    #[arg(long, value_name = "FILE", env = "GRADSWEEP_SWEEP")]
    pub sweep: Vec<PathBuf>,
    /// How they are read.
    #[command(flatten)]
    pub reading: SweepOptions,
    /// Directory with the data sets [default: GRADSWEEP_DATA, else ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Folder of the local worker's checkpoints, which workers on other hosts may share: then a
    /// trial goes on where it was when another worker takes it over [default: in --state]
    #[arg(long, value_name = "DIR", env = "GRADSWEEP_ARTIFACTS")]
    pub artifacts: Option<PathBuf>,
    /// Starts a worker on this host that ends with the coordinator; N slots per device
    /// [default: a slot per GPU, else a single-threaded slot per CPU core]
    #[arg(long, value_name = "N", env = "GRADSWEEP_LOCAL", num_args = 0..=1)]
    pub local: Option<Option<u32>>,
    /// Exits when every sweep given has ended: status 1 where trials failed, or where it was
    /// cancelled or stopped before all ran
    #[arg(long, env = "GRADSWEEP_EXIT_WHEN_DONE")]
    pub exit_when_done: bool,
    /// With --exit-when-done: exit status 1 where the results contradict a claim of `expect`
    #[arg(long, env = "GRADSWEEP_STRICT")]
    pub strict: bool,
    /// Address for workers and clients (gRPC); port 0 takes a free one
    #[arg(long, value_name = "ADDR", env = "GRADSWEEP_LISTEN", default_value = "127.0.0.1:50051")]
    pub listen: SocketAddr,
    /// Address of the page at /, the API, /metrics, /live and /ready; port 0 takes a free one
    #[arg(long, value_name = "ADDR", env = "GRADSWEEP_HTTP", default_value = "127.0.0.1:9600")]
    pub http: SocketAddr,
    /// Takes connections with a certificate of the CA in --credentials alone, on both addresses
    #[arg(long, env = "GRADSWEEP_MUTUAL_TLS")]
    pub mutual_tls: bool,
    /// Listens beyond this host without --credentials: whoever reaches it may do everything
    #[arg(long, env = "GRADSWEEP_INSECURE")]
    pub insecure: bool,
    /// Name by which browsers and Prometheus reach --http, beside addresses, names without a dot,
    /// this host's own and those of its certificate. Can be repeated
    #[arg(long, value_name = "NAME", env = "GRADSWEEP_HTTP_NAMES", value_delimiter = ',')]
    pub http_name: Vec<String>,
}

/// Names of the options in `ServeOptions`.
const SERVE_OPTIONS: [&str; 14] = [
    "sweep",
    "overlay",
    "set",
    "max_trials",
    "data",
    "artifacts",
    "local",
    "exit_when_done",
    "strict",
    "listen",
    "http",
    "mutual_tls",
    "insecure",
    "http_name",
];

impl Cli {
    /// Reads the arguments; the error is clap's, help and version included.
    pub fn read<I, T>(arguments: I) -> Result<Cli, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<std::ffi::OsString> + Clone,
    {
        let matches = Cli::command().try_get_matches_from(arguments)?;
        let cli = Cli::from_arg_matches(&matches)?;
        if cli.command.is_some() {
            refuse_serve_options(&matches)?;
        }
        if cli.serve.local.is_none() && is_given(&matches, "artifacts") {
            return Err(Cli::command().error(
                clap::error::ErrorKind::MissingRequiredArgument,
                "--artifacts is for the local worker and needs --local; a worker that is started \
                 by itself has its own --artifacts",
            ));
        }
        Ok(cli)
    }
}

/// On the command line: what comes from the environment may be there for another program.
fn is_given(matches: &ArgMatches, name: &str) -> bool {
    matches.value_source(name) == Some(ValueSource::CommandLine)
}

/// An option of the server before a client's command would be passed over in silence.
fn refuse_serve_options(matches: &ArgMatches) -> Result<(), clap::Error> {
    let given = SERVE_OPTIONS.into_iter().find(|name| is_given(matches, name));
    let Some(name) = given else { return Ok(()) };
    let command = matches.subcommand_name().unwrap_or_default();
    let flag = name.replace('_', "-");
    Err(Cli::command().error(
        clap::error::ErrorKind::ArgumentConflict,
        format!("--{flag} is an option of the server here; it cannot stand before `{command}`"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::read(std::iter::once("coordinator").chain(arguments.iter().copied()))
    }

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn local_takes_a_number_or_none() {
        let local = |arguments: &[&str]| read(arguments).expect("parses").serve.local;
        assert_eq!(local(&[]), None);
        assert_eq!(local(&["--local", "--exit-when-done"]), Some(None));
        assert_eq!(local(&["--local", "2"]), Some(Some(2)));
    }

    #[test]
    fn artifacts_are_the_local_workers() {
        let cli = read(&["--local", "--artifacts", "shared"]).expect("parses");
        assert_eq!(cli.serve.artifacts, Some(PathBuf::from("shared")));
        let error = read(&["--artifacts", "shared"]).expect_err("refused");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--artifacts is for the local worker"), "{error}");
    }

    #[test]
    fn serving_is_the_command_without_a_name() {
        let cli = read(&["--sweep", "a.yaml", "--sweep", "b.yaml", "--set", "x=1", "--set", "y=2"]);
        let cli = cli.expect("parses");
        assert!(cli.command.is_none());
        assert_eq!(cli.serve.sweep.len(), 2);
        assert_eq!(cli.serve.reading.set, ["x=1", "y=2"]);
        assert_eq!(cli.serve.listen.to_string(), "127.0.0.1:50051");
        assert_eq!(cli.serve.http.to_string(), "127.0.0.1:9600");
    }

    #[test]
    fn bad_addresses_are_usage_errors_that_name_the_flag() {
        let error = read(&["--listen", "here"]).expect_err("refused");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--listen"), "{error}");
    }

    #[test]
    fn options_of_the_server_do_not_go_with_a_command() {
        let error = read(&["--exit-when-done", "list"]).expect_err("refused");
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("--exit-when-done is an option of the server"), "{text}");
        let cli = read(&["list", "--state", "elsewhere"]).expect("parses");
        assert_eq!(cli.global.state, PathBuf::from("elsewhere"));
    }
}

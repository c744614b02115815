//! The client's commands: what each asks for, and how its answer is shown.
//!
//! Reading commands have one path: a `Source` (a running coordinator or its state directory)
//! gives wire types, `render` writes them. Those of `act` change what runs, and need a running
//! coordinator.

mod act;
mod data;
mod export;
mod failure;
mod figure;
mod init_tls;
mod model;
mod output;
mod plan;
mod read;
mod source;
mod store;
mod watch;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::options::{Global, SweepOptions};
use crate::plan::Format as PlanFormat;
use crate::render::Format;
use failure::Failure;
pub use init_tls::InitTlsArgs;

/// A command of the client.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Shows what a sweep file would run, without running anything
    #[command(after_help = plan::help())]
    Plan(PlanArgs),
    /// Lists the sweeps with their trials by state
    #[command(after_help = READS_ONLY)]
    List(ViewArgs),
    /// Shows where one sweep stands, its best trial and its newest failures
    #[command(after_help = READS_ONLY)]
    Status(SweepArgs),
    /// Lists the workers with their slots, and why one gets no cohort
    #[command(after_help = READS_ONLY)]
    Workers(ViewArgs),
    /// Shows a sweep's results: mean, deviation and number of trials per config
    #[command(after_help = "Without --rows and --columns it is the table of the sweep file, else \
every parameter that varies is a row. With --rows alone the file's columns stay, unless --best-by \
chooses among them. Diverged, failed and unfinished trials are not in the mean; \
they are counted beside the number of trials. Errors are in percent in text, markdown and latex, \
fractions in csv, json and parquet.

Reads only: running and pending trials go on.")]
    Table(TableArgs),
    /// Writes a sweep's results into a folder: file, provenance, tables, figures
    #[command(after_help = "The folder appears when it is complete: sweep.yaml (with overlay and \
overrides applied), provenance.json (which programs, devices and data the results are from), \
trials.parquet (a row per trial, with every parameter) and epochs.parquet (a row per trial and \
epoch), table.md, table.tex \
and table.csv (as the sweep file's `table` says), expectations.json, and in \
figures/ what the sweep has enough parameters for of plot, heat, parallel and curves, as SVG and \
PNG. While the sweep runs its files are of moments that lie seconds apart.

Reads only: running and pending trials go on.")]
    Export(ExportArgs),
    /// Shows a sweep's progress, its best trials and the workers, live
    #[command(
        after_help = "On a terminal a full screen; q or Esc leaves it, and so does the end of \
the sweep. Elsewhere, and where TERM is dumb or unset, a line every 10 s until the sweep's end. A \
coordinator that goes away is sought until it is back.

Exit status: 0 done or left; 1 where trials failed by the sweep's end; 130, 143 after Ctrl-C, \
SIGTERM.

Reads only: running and pending trials go on."
    )]
    Watch(WatchArgs),
    /// Shows what became of the claims in the sweep file's `expect`
    #[command(after_help = "A claim is supported where the whole confidence interval of the \
difference agrees with it, contradicted where all of it disagrees, else undecided. The interval is \
Welch's over seeds; diverged, failed and unfinished trials have no value and are counted beside \
the number of trials. Errors are in percent in text, fractions in json.

Reads only: running and pending trials go on.")]
    Expect(ExpectArgs),
    /// Shows the dropout rates at which the validation error of `dropout: probe` trials rises
    #[command(after_help = "A probe raises the rate from 0 to p over its epochs. Its validation \
errors are smoothed by a running median of 5 epochs; the rate is that of the last epoch at most \
one standard error, sqrt(e(1-e)/n) of n validation examples, above the minimum e.

Reads only: running and pending trials go on.")]
    Probe(ProbeArgs),
    /// Shows one trial: parameters, state, attempts, outcome, provenance, epochs
    #[command(after_help = "Says why a pending trial waits, and whether weights are kept.

Reads only: the trial goes on.")]
    Trial(TrialArgs),
    /// Writes the weights of a trial's best epoch to a file
    #[command(after_help = "A safetensors file that says by itself what it is of; \
python/gradsweep_model.py loads it with PyTorch. The sweep file's `keep` says whose weights are \
kept: of the best trial of each config (the default), all, none, or the K best. What they are of \
is said on stderr.

Reads only: running and pending trials go on.")]
    Model(model::ModelArgs),
    /// Prints the end of what a trial's trainer wrote to stderr
    #[command(after_help = "Of a running trial what its worker has now, else what its failed \
attempts left.

Reads only: the trial goes on.")]
    Logs(LogArgs),
    /// Applies a sweep file to a running coordinator, a new one or an edited one
    #[command(after_help = "Of a sweep that is there already, new points are added and only they \
run; trials of points that the file has no more are marked removed: pending ones never run, \
running ones go on to their end (--prune ends them at once, unless another sweep wants them), \
results stay and show with `table --removed`. A point that comes back brings its results with it.

Priority, budget, fusion and table are those of the newest file. A hold (paused, cancelled, \
stopped by the same error) stays.")]
    Apply(ApplyArgs),
    /// Stops handing out trials of a sweep
    #[command(after_help = "Running trials go on to their end; pending ones wait until `resume`. \
A restart of the coordinator does not lift it.")]
    Pause(ActArgs),
    /// Goes on with a sweep that was paused, or stopped by the same error
    #[command(after_help = "Pending trials are handed out again; running ones were never stopped.")]
    Resume(ActArgs),
    /// Ends a sweep: its open trials are cancelled
    #[command(after_help = "Running trials are stopped at once without a result, pending ones \
never run; what another sweep wants goes on. Results so far stay. `retry` takes it back.")]
    Cancel(ActArgs),
    /// Runs the failed and cancelled trials of a sweep again
    #[command(
        after_help = "Their deaths are forgotten, and what held the sweep is lifted: also a \
cancelled, paused or stopped one goes on. Trials resume from their checkpoints where there are \
any. Running and pending trials go on."
    )]
    Retry(ActArgs),
    /// Has a worker hand back what it runs and leave
    #[command(after_help = "Its running trials are checkpointed at the next end of an epoch and \
go on elsewhere; none counts as a failure. Pending trials go to the other workers. The worker's \
program then ends with status 0; started again it works again.")]
    Drain(DrainArgs),
    /// Checks and downloads data sets
    #[command(subcommand, arg_required_else_help = true)]
    Data(DataCommand),
    /// Makes a CA, certificates and tokens for a small cluster
    #[command(
        after_help = "DIR gets the CA (ca.pem, ca-key.pem) and a credentials folder for each \
kind of process: coordinator, worker, client. Nothing that is there is overwritten, but for \
certificates and keys with --renew."
    )]
    InitTls(InitTlsArgs),
    /// Checks and copies the store of a state directory
    #[command(subcommand, arg_required_else_help = true)]
    Store(StoreCommand),
    /// Draws a metric against parameters, as SVG or PNG
    #[command(after_help = figure::PLOT_HELP)]
    Plot(figure::PlotArgs),
    /// Draws learning curves with the gate beneath, as SVG or PNG
    #[command(after_help = figure::CURVES_HELP)]
    Curves(figure::CurvesArgs),
}

const READS_ONLY: &str = "Reads only: running and pending trials go on.";

/// Commands on the store.
#[derive(Subcommand, Clone, Debug)]
pub enum StoreCommand {
    /// Reads the whole store and says what is wrong with it
    #[command(after_help = "SQLite's own integrity check, then what must be true of sweeps, \
trials, attempts, epochs and outcomes. Works beside a running coordinator and changes nothing. \
Exit status 1 where something does not hold.")]
    Check,
    /// Copies the store into one file, also while a coordinator writes it
    #[command(
        after_help = "The copy is the store at one moment, and appears when it is whole and \
on the disk; the coordinator is not held up. To go back to it, stop the coordinator, put the file \
into an empty directory as gradsweep.db, and start with that --state: trials that ran or ended \
after the copy are trained again. Workers drop what they have of the other store by themselves.

Kept weights are files of their own in weights/ of the state directory, written once each: copy \
that folder after the store, with any tool, and put it beside gradsweep.db."
    )]
    Backup(BackupArgs),
}

/// Arguments of `store backup`.
#[derive(Args, Clone, Debug)]
pub struct BackupArgs {
    /// The file to write
    pub file: PathBuf,
    /// Replaces a file that is there
    #[arg(long)]
    pub force: bool,
}

/// Commands on data sets.
#[derive(Subcommand, Clone, Debug)]
pub enum DataCommand {
    /// Reads a data set whole and says what it holds, or what is wrong with it
    #[command(after_help = "Checks presence, format, counts, and checksums of decompressed \
content. Nothing is downloaded or changed.")]
    Check(CheckArgs),
    /// Downloads what is missing of a data set
    #[command(after_help = "The only command that downloads. Content is checked against the \
published checksums before it gets its name; what is there already is checked and left as it is. A \
download that was cut off goes on where it ended. cluttered-mnist is made from mnist, which is \
fetched; strokes needs no files.")]
    Fetch(FetchArgs),
}

/// Arguments of `data check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// mnist, cifar10, cluttered-mnist or strokes
    pub name: String,
    /// Directory with the data sets [default: GRADSWEEP_DATA, else ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Arguments of `data fetch`.
#[derive(Args, Clone, Debug)]
pub struct FetchArgs {
    /// Which, and where to.
    #[command(flatten)]
    pub set: CheckArgs,
    /// Address of a folder with the files, in place of the well-known ones. Can be repeated: each
    /// is tried in turn
    #[arg(long, value_name = "URL", env = "GRADSWEEP_MIRRORS", value_delimiter = ',')]
    pub mirror: Vec<String>,
}

/// Whom a command asks.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// Asks the coordinator at this address [default: the one that runs on --state; where none
    /// runs, a command that only reads opens the directory itself]
    #[arg(long, value_name = "URL", env = "GRADSWEEP_COORDINATOR", display_order = 99)]
    pub coordinator: Option<String>,
}

/// How an answer that is not a table is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum ViewFormat {
    /// For reading.
    #[default]
    Text,
    /// For programs: errors are fractions, times milliseconds since 1970.
    Json,
}

/// Arguments of `plan`.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// The sweep file
    pub file: PathBuf,
    /// Lists every trial with its id and parameters
    #[arg(long)]
    pub trials: bool,
    /// text, csv (a row per trial, else per fact) or json
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    pub format: PlanFormat,
    /// How the file is read.
    #[command(flatten)]
    pub reading: SweepOptions,
}

/// Arguments of commands without a subject.
#[derive(Args, Clone, Debug)]
pub struct ViewArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub place: Place,
    /// text, or json: errors as fractions, times in milliseconds since 1970
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    pub format: ViewFormat,
}

/// Arguments of commands on a sweep.
#[derive(Args, Clone, Debug)]
pub struct SweepArgs {
    /// The sweep's name
    pub sweep: String,
    /// As for commands without a subject.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Arguments of commands on a trial.
#[derive(Args, Clone, Debug)]
pub struct TrialArgs {
    /// The sweep's name
    pub sweep: String,
    /// The trial's id, or at least 4 of its first digits
    pub trial: String,
    /// As for commands without a subject.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Arguments of `apply`.
#[derive(Args, Clone, Debug)]
pub struct ApplyArgs {
    /// The sweep file
    pub file: PathBuf,
    /// Ends running trials that the file names no more
    #[arg(long)]
    pub prune: bool,
    /// How the file is read.
    #[command(flatten)]
    pub reading: SweepOptions,
    /// Whom to ask.
    #[command(flatten)]
    pub place: Place,
}

/// Arguments of commands that act on a sweep.
#[derive(Args, Clone, Debug)]
pub struct ActArgs {
    /// The sweep's name
    pub sweep: String,
    /// Whom to ask.
    #[command(flatten)]
    pub place: Place,
}

/// Arguments of `drain`.
#[derive(Args, Clone, Debug)]
pub struct DrainArgs {
    /// The worker's name, as `workers` shows it
    pub worker: String,
    /// Whom to ask.
    #[command(flatten)]
    pub place: Place,
}

/// Arguments of `export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// The sweep's name
    pub sweep: String,
    /// The folder to write
    pub folder: PathBuf,
    /// Replaces a folder that is there
    #[arg(long)]
    pub force: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub place: Place,
}

/// Arguments of `watch`.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// The sweep's name
    pub sweep: String,
    /// Lines, also on a terminal
    #[arg(long)]
    pub lines: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub place: Place,
}

/// Arguments of `expect`.
#[derive(Args, Clone, Debug)]
pub struct ExpectArgs {
    /// The sweep's name
    pub sweep: String,
    /// Exit status 1 where a claim is contradicted
    #[arg(long)]
    pub strict: bool,
    /// As for commands without a subject.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Arguments of `probe`.
#[derive(Args, Clone, Debug)]
pub struct ProbeArgs {
    /// The sweep's name
    pub sweep: String,
    /// Shows the curves as well: rate and mean validation error by epoch
    #[arg(long)]
    pub curve: bool,
    /// As for commands without a subject.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Arguments of `logs`.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// The sweep's name
    pub sweep: String,
    /// The trial's id, or at least 4 of its first digits
    pub trial: String,
    /// Whom to ask.
    #[command(flatten)]
    pub place: Place,
}

/// Arguments of `table`.
#[derive(Args, Clone, Debug)]
pub struct TableArgs {
    /// The sweep's name
    pub sweep: String,
    /// Parameters that make rows, in this order
    #[arg(long, value_name = "P,…", value_delimiter = ',')]
    pub rows: Vec<String>,
    /// Parameters that make columns
    #[arg(long, value_name = "P,…", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// test_error, val_error, test_loss, val_loss, train_loss, best_epoch, epochs or seconds; or
    /// how many trials: completed, diverged or failed [default: the sweep file's, else test_error]
    #[arg(long, value_name = "METRIC")]
    pub metric: Option<String>,
    /// Varying parameters that are treated as replicates, like seeds
    #[arg(long, value_name = "P,…", value_delimiter = ',')]
    pub pool: Vec<String>,
    /// Shows in each cell only the config whose mean of this metric is lowest
    #[arg(long, value_name = "METRIC")]
    pub best_by: Option<String>,
    /// One row per trial: parameters, state, metrics
    #[arg(long, conflicts_with = "epochs")]
    pub trials: bool,
    /// One row per trial and epoch
    #[arg(long)]
    pub epochs: bool,
    /// Includes trials that are no longer in the sweep's file
    #[arg(long)]
    pub removed: bool,
    /// With --trials: also every parameter, and programs, device, precision and data of a result
    #[arg(long, requires = "trials")]
    pub provenance: bool,
    /// text, markdown, latex, csv, json or parquet [default: by the ending of --output (txt, md,
    /// tex, csv, json, parquet), else text]
    #[arg(long, value_name = "FORMAT", value_enum, hide_possible_values = true)]
    pub format: Option<Format>,
    /// Writes to this file, which appears when it is complete
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Whom to ask.
    #[command(flatten)]
    pub place: Place,
}

/// Runs a command and returns its exit status: 0 done, 2 a mistake in what was asked, which is
/// said on stderr.
///
/// Fails where what was asked for is right and could not be done: exit status 1. A reader of
/// standard output that has seen enough (`| head`) is no failure.
pub async fn run(command: Command, global: &Global) -> anyhow::Result<u8> {
    let done = match command {
        Command::Plan(args) => plan::run(&args),
        Command::List(args) => read::list(&args, global).await,
        Command::Status(args) => read::status(&args, global).await,
        Command::Workers(args) => read::workers(&args, global).await,
        Command::Table(args) => read::table(&args, global).await,
        Command::Export(args) => export::export(&args, global).await,
        Command::Watch(args) => watch::watch(&args, global).await,
        Command::Expect(args) => read::expect(&args, global).await,
        Command::Probe(args) => read::probe(&args, global).await,
        Command::Trial(args) => read::trial(&args, global).await,
        Command::Model(args) => model::model(&args, global).await,
        Command::Logs(args) => read::logs(&args, global).await,
        Command::Apply(args) => act::apply(&args, global).await,
        Command::Pause(args) => act::pause(&args, global).await,
        Command::Resume(args) => act::resume(&args, global).await,
        Command::Cancel(args) => act::cancel(&args, global).await,
        Command::Retry(args) => act::retry(&args, global).await,
        Command::Drain(args) => act::drain(&args, global).await,
        Command::InitTls(args) => init_tls::run(&args),
        Command::Store(StoreCommand::Check) => store::check(global),
        Command::Store(StoreCommand::Backup(args)) => store::backup(&args, global),
        Command::Data(DataCommand::Check(args)) => data::check(&args),
        Command::Data(DataCommand::Fetch(args)) => data::fetch(args).await,
        Command::Plot(args) => figure::plot(args, global).await,
        Command::Curves(args) => figure::curves(args, global).await,
    };
    failure::status(done)
}

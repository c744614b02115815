//! The program `coordinator`: reads the command line, then serves or runs one client command.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::telemetry::{self, chain};
use coordinator::cli;
use coordinator::config::{Config, Mistakes};
use coordinator::options::{Cli, Global, ServeOptions};
use coordinator::progress::{AllDone, Bars};
use coordinator::serve::{self, Display, End, Listeners, ServeError};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What was asked for failed, failed trials included; with `--strict` also contradicted claims.
const STATUS_FAILED: u8 = 1;
/// What was asked for has a mistake.
const STATUS_MISTAKE: u8 = 2;
const STATUS_SIGINT: u8 = 130;
const STATUS_SIGTERM: u8 = 143;
/// Reads that still run at the end are left behind after this long.
const RUNTIME_WAIT: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    // Before anything speaks TLS; another provider cannot have been installed yet.
    let installed = rustls::crypto::ring::default_provider().install_default();
    debug_assert!(installed.is_ok());
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout, mistakes to stderr; a closed one changes nothing.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { STATUS_MISTAKE } else { 0 });
        }
    };
    let bars = Bars::new();
    let logs = bars.clone();
    telemetry::init(move || logs.writer());
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start the runtime: {error}")),
    };
    let status = match cli.command {
        Some(command) => match runtime.block_on(cli::run(command, &cli.global)) {
            Ok(status) => ExitCode::from(status),
            Err(error) => failed(&format!("{error:#}")),
        },
        None => serve(&runtime, &cli.global, &cli.serve, bars),
    };
    runtime.shutdown_timeout(RUNTIME_WAIT);
    status
}

fn serve(runtime: &Runtime, global: &Global, options: &ServeOptions, bars: Bars) -> ExitCode {
    let (config, warnings) = match Config::check(global, options) {
        Ok(checked) => checked,
        Err(mistakes) => return mistaken(&mistakes),
    };
    for warning in warnings {
        to_stderr(warning.render(false));
    }
    let stop = CancellationToken::new();
    let stopped = Arc::new(OnceLock::new());
    runtime.spawn(on_signals(stop.clone(), Arc::clone(&stopped)));
    match runtime.block_on(served(config, bars, stop)) {
        Ok(End::Done(AllDone { failed, incomplete, contradicted })) => {
            let is_as_expected = contradicted == 0 || !options.strict;
            if failed == 0 && incomplete == 0 && is_as_expected {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(STATUS_FAILED)
            }
        }
        Ok(End::Stopped) => ExitCode::from(stopped.get().copied().unwrap_or(STATUS_SIGTERM)),
        Err(ServeError::Mistakes(mistakes)) => mistaken(&mistakes),
        Err(error) => failed(&chain(&error)),
    }
}

async fn served(config: Config, bars: Bars, stop: CancellationToken) -> Result<End, ServeError> {
    let opened = serve::open(&config.state).await?;
    opened.check(&config.sweeps)?;
    let listeners = Listeners::bind(config.listen, config.http).await?;
    let display = Display { bars, output: Box::new(io::stdout()) };
    serve::run(config, opened, listeners, display, stop).await
}

/// The first signal stops cleanly; the second ends the process at once.
async fn on_signals(stop: CancellationToken, stopped: Arc<OnceLock<u8>>) {
    let listen = |kind| signal(kind).inspect_err(|error| tracing::error!(%error, "no signals"));
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (listen(SignalKind::interrupt()), listen(SignalKind::terminate()))
    else {
        return;
    };
    loop {
        let status = tokio::select! {
            _ = interrupt.recv() => STATUS_SIGINT,
            _ = terminate.recv() => STATUS_SIGTERM,
        };
        if stopped.set(status).is_err() {
            // The local worker's pipe closes with this process: it drains by itself.
            std::process::exit(status.into());
        }
        tracing::info!(
            "stopping: nothing more is handed out; a local worker hands back what it trains, \
             others train on and attach to the next start; once more stops at once"
        );
        stop.cancel();
    }
}

fn mistaken(Mistakes(mistakes): &Mistakes) -> ExitCode {
    to_stderr(&mistakes.join("\n\n"));
    ExitCode::from(STATUS_MISTAKE)
}

fn failed(message: &str) -> ExitCode {
    to_stderr(&format!("error: {message}"));
    ExitCode::from(STATUS_FAILED)
}

fn to_stderr(text: &str) {
    // With a closed stderr there is nobody to tell.
    drop(writeln!(io::stderr(), "{text}"));
}

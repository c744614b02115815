//! `init-tls`: credentials for a small cluster.

use std::io::Write;

use clap::Args;
use common::telemetry::chain;

use super::Failure;
use super::output::Output;
use crate::edge::authority::{self, AuthorityError, Made, Request};

/// Arguments of `init-tls`.
#[derive(Args, Clone, Debug)]
pub struct InitTlsArgs {
    /// The folder to make
    #[arg(value_name = "DIR")]
    pub folder: std::path::PathBuf,
    /// Name or address by which workers and clients reach the coordinator; localhost, 127.0.0.1
    /// and ::1 are always among them. Can be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',', required_unless_present = "renew")]
    pub host: Vec<String>,
    /// Days that the certificates last; the CA lasts ten years
    #[arg(long, value_name = "N", default_value_t = 730)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// Signs new certificates with the CA that is in DIR, for the same hosts unless --host names
    /// others; tokens stay
    #[arg(long)]
    pub renew: bool,
}

pub(super) fn run(args: &InitTlsArgs) -> Result<(), Failure> {
    let request = Request {
        folder: args.folder.clone(),
        hosts: args.host.clone(),
        days: args.days,
        renew: args.renew,
    };
    let made = authority::make(&request).map_err(|error| match error {
        AuthorityError::Exists { .. }
        | AuthorityError::NoCa { .. }
        | AuthorityError::Unfinished { .. }
        | AuthorityError::NoHosts { .. }
        | AuthorityError::Token { .. }
        | AuthorityError::Host { .. }
        | AuthorityError::Ca { .. }
        | AuthorityError::CaExpired { .. } => Failure::Mistake(chain(&error)),
        AuthorityError::Make(_) | AuthorityError::File { .. } => Failure::Failed(error.into()),
    })?;
    let mut out = Output::stdout();
    out.write_all(told(args, &made).as_bytes())?;
    out.finish()
}

fn told(args: &InitTlsArgs, made: &Made) -> String {
    let folder = args.folder.display();
    let hosts = made.hosts.join(", ");
    let host = made.hosts.last().map_or("localhost", String::as_str);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let first = match args.renew {
        true => format!(
            "{folder}: new certificates until {}, for {hosts}\n\nCopy them where the old ones \
             are; a coordinator that runs takes them within seconds, a worker when it connects \
             next.\n",
            made.until
        ),
        false => format!(
            "{folder}: a CA, and certificates until {}, for {hosts}\n\nCopy each folder to where \
             it is used, and to nowhere else:\n",
            made.until
        ),
    };
    format!(
        "{first}
{folder}/coordinator   the coordinator's host
    coordinator --credentials coordinator --listen 0.0.0.0:50051 --http 0.0.0.0:9600
{folder}/worker        every worker's host
    worker --credentials worker --coordinator https://{host}:50051
{folder}/client        whoever asks for results or changes what runs
    coordinator list --credentials client --coordinator https://{host}:50051
    curl --cacert client/ca.pem -H \"Authorization: Bearer $(cat client/token)\" \
https://{host}:9600/metrics

--mutual-tls has the coordinator take connections with a certificate of this CA alone.
{folder}/ca-key.pem stays here: with it anybody makes certificates that all of them trust.
To change a token, add the new one as a line to coordinator/agent.token or client.token, hand it
out, and remove the old line: no restart is needed.
"
    )
}

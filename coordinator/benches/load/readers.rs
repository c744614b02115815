//! What readers that take nothing, or little, cost: no-op trials with and without them, in turns.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;
use common::wire::sweep_service_client::SweepServiceClient;
use common::wire::{GetSweepRequest, SweepProgress};
use tokio::net::TcpSocket;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::Bench;
use crate::process::{Coordinator, State};
use crate::sweep;
use crate::trials::{self, work_off};

/// What a slow reader takes, once a second.
const SLOW_BYTES: usize = 4096;
/// The readers have what they can take once the coordinator does less than this in a second.
const SETTLED_CPU_SECONDS: f64 = 0.15;
/// Both kinds of run begin as late as this, at least.
const SETTLE: Duration = Duration::from_secs(3);

/// How many, and how.
#[derive(Args, Clone)]
pub struct Options {
    /// Readers: a third each of events, of `watch` and of a table; every second one is stuck, the
    /// others are slow
    #[arg(long, default_value_t = 200)]
    readers: usize,
    /// Only readers of this kind: events, table or watch
    #[arg(long)]
    only: Option<Kind>,
    /// Trials of a sweep
    #[arg(long, default_value_t = 100_000)]
    trials: u64,
    /// Runs with and without
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// What is read.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    Events,
    Table,
    Watch,
}

impl Options {
    fn kind(&self, at: usize) -> Kind {
        self.only.unwrap_or([Kind::Events, Kind::Table, Kind::Watch][at % 3])
    }
}

/// Runs both in turns and prints the figures.
pub async fn run(bench: &Bench, options: &Options) -> anyhow::Result<()> {
    let (mut alone, mut read) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        alone.push(rate(bench, options, 0).await?);
        read.push(rate(bench, options, options.readers).await?);
    }
    let mut ratios: Vec<f64> = read.iter().zip(&alone).map(|(read, alone)| read / alone).collect();
    println!(
        "readers: {} trials in cohorts of 16, {} rounds: {:.0} trials/s alone, {:.0} with {} \
         stuck and slow readers, ratio {:.3} (medians)",
        options.trials,
        options.rounds,
        median(&mut alone),
        median(&mut read),
        options.readers,
        median(&mut ratios),
    );
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// No-op trials per second with so many readers.
async fn rate(bench: &Bench, options: &Options, readers: usize) -> anyhow::Result<f64> {
    let trials = options.trials;
    let state = State::new(bench, &sweep::yaml(trials, 16))?;
    let mut coordinator = Coordinator::start(bench, &state).await?;
    #[expect(clippy::cast_precision_loss, reason = "a count of trials")]
    let all = trials as f64;
    coordinator.wait_for_series(&sweep::count("pending"), all).await?;
    let mut open = Vec::new();
    for at in 0..readers {
        open.push(Reader::open(&coordinator, options.kind(at), at % 2 == 1).await?);
    }
    tokio::time::sleep(SETTLE).await;
    loop {
        let before = coordinator.usage()?.cpu_seconds;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if coordinator.usage()?.cpu_seconds - before < SETTLED_CPU_SECONDS {
            break;
        }
    }
    let started = Instant::now();
    work_off(&coordinator, &trials::Options::of_no_epoch(trials)).await?;
    Ok(all / started.elapsed().as_secs_f64())
}

/// A reader; it goes when it is dropped.
#[expect(dead_code, reason = "held open")]
enum Reader {
    Stuck(TcpStream),
    Slow(AbortOnDropHandle<()>),
    Watch(Box<Streaming<SweepProgress>>),
}

impl Reader {
    async fn open(coordinator: &Coordinator, kind: Kind, is_slow: bool) -> anyhow::Result<Reader> {
        let path = match kind {
            Kind::Events => "/api/v1/events".to_owned(),
            Kind::Table => format!("/api/v1/sweeps/{}/trials.csv", sweep::NAME),
            Kind::Watch => {
                let client: SweepServiceClient<Channel> = coordinator.client().await?;
                return Reader::watch(client, is_slow).await;
            }
        };
        let stream = get(coordinator.http(), &path).await?;
        Ok(if is_slow { Reader::Slow(sip(stream)?) } else { Reader::Stuck(stream) })
    }

    async fn watch(
        mut client: SweepServiceClient<Channel>,
        is_slow: bool,
    ) -> anyhow::Result<Reader> {
        let request = GetSweepRequest { sweep: sweep::NAME.into() };
        let mut stream = client.watch_sweep(request).await?.into_inner();
        if !is_slow {
            return Ok(Reader::Watch(Box::new(stream)));
        }
        let reading = tokio::spawn(async move {
            while let Ok(Some(_)) = stream.message().await {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        });
        Ok(Reader::Slow(AbortOnDropHandle::new(reading)))
    }
}

async fn get(address: SocketAddr, path: &str) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // Else the system takes megabytes for the reader, and it is not stuck.
    socket.set_recv_buffer_size(16 << 10)?;
    let mut stream = socket.connect(address).await?.into_std()?;
    stream.set_nonblocking(false)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    Ok(stream)
}

/// Takes a little once a second.
fn sip(mut stream: TcpStream) -> anyhow::Result<AbortOnDropHandle<()>> {
    stream.set_nonblocking(true)?;
    let sipping = tokio::spawn(async move {
        let mut bytes = [0; SLOW_BYTES];
        loop {
            // Nothing there, or the end: both go on.
            drop(stream.read(&mut bytes));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    Ok(AbortOnDropHandle::new(sipping))
}

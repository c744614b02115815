//! What a client asks for: every field of a request against a store with one sweep.
#![no_main]

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::OnceLock;

use common::spec::{Options, load};
use common::wire::{GetModelRequest, GetProbeRequest, GetTrialRequest, TableRequest};
use coordinator::query::Reader;
use coordinator::store::{SqliteStore, Store};
use libfuzzer_sys::fuzz_target;
use prost::Message;
use scheduler::Change;
use scheduler::event::{Fusion, SweepHeader, Trial};

const SWEEP: &str = "name: s\nmodel: mlp\ndata: strokes\nbase: {epochs: 3, tau: 1}\n\
    grid: {depth: [2, 3], activation: [relu, grelu]}\nseeds: 2\n\
    expect: [{claim: c, similar: {depth: 2}, to: {depth: 3}, within: 0.1, best_by: val_error}]\n";

/// A sweep named `s`.
fn changes() -> Vec<Change> {
    let (sweep, _) = load(SWEEP, "s.yaml", &Options::default()).expect("a sweep");
    let header = SweepHeader {
        name: sweep.name.clone(),
        yaml: sweep.yaml.clone(),
        model: sweep.model,
        data: sweep.data,
        fusion: Fusion::Auto,
        priority: 0,
        failures_max: None,
        slot_seconds_max: None,
        same_error_max: None,
        data_digest: None,
    };
    let trials: Vec<Trial> =
        sweep.expand().map(|(config, id, seed)| Trial { id, config, seed }).collect();
    let ids = trials.iter().map(|trial| trial.id).collect();
    vec![
        Change::SweepApplied(header),
        Change::TrialsAdded(trials),
        Change::MembersAdded { sweep: sweep.name.clone(), first_index: 0, trials: ids },
        Change::SweepExpanded(sweep.name),
    ]
}

fn state() -> &'static PathBuf {
    static STATE: OnceLock<PathBuf> = OnceLock::new();
    STATE.get_or_init(|| {
        let name = format!("gradsweep-requests-{}", std::process::id());
        let folder = PathBuf::from("/dev/shm").join(name);
        let mut store = SqliteStore::open(&folder).expect("a store");
        store.commit(&changes(), 1).expect("stored");
        folder
    })
}

fuzz_target!(|bytes: &[u8]| {
    let reader = Reader::open(state()).expect("a store");
    if let Ok(request) = TableRequest::decode(bytes) {
        drop(reader.table(&request, &mut |_| ControlFlow::Continue(())));
    }
    if let Ok(request) = GetProbeRequest::decode(bytes) {
        drop(reader.probe(&request, &mut |_| ControlFlow::Continue(())));
    }
    if let Ok(request) = GetModelRequest::decode(bytes) {
        drop(reader.model(&request, &mut |_| ControlFlow::Continue(())));
    }
    if let Ok(request) = GetTrialRequest::decode(bytes) {
        drop(reader.trial(&request.sweep, &request.trial));
        drop(reader.log(&request.sweep, &request.trial));
        drop(reader.sweep(&request.sweep));
        drop(reader.expectations(&request.sweep));
    }
});

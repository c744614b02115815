//! A spool as a killed agent, a full disk or a bad one left it. What opens keeps its whole records.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use worker::spool::Spool;

fuzz_target!(|bytes: &[u8]| {
    // In memory: opening syncs.
    let folder = Path::new("/dev/shm").join(format!("gradsweep-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("reports"), bytes).expect("written");
    if let Ok(mut spool) = Spool::open(&folder) {
        let mut reports = Vec::new();
        loop {
            let batch = spool.next_batch();
            if batch.is_empty() {
                break;
            }
            reports.extend(batch);
        }
        drop(spool);
        let mut again = Spool::open(&folder).expect("what was opened opens");
        let mut found = Vec::new();
        while found.len() < reports.len() {
            found.extend(again.next_batch());
        }
        assert_eq!(found, reports);
    }
    std::fs::remove_dir_all(&folder).expect("removed");
});

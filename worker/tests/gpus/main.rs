//! Figures of GPUs through the real wrapper, from a library in C that stands for NVIDIA's: struct
//! layouts, units, and figures that a GPU does not have. Without a C compiler it says so.

use std::path::Path;
use std::process::Command;

use worker::gpus::{Gpu, read_once};

#[test]
fn a_figure_that_the_driver_does_not_tell_is_absent() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libnvidia-ml.so.1");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpus/nvml.c");
    let mut compiler = Command::new("cc");
    match compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status() {
        Err(error) => return println!("skipped: no C compiler: {error}"),
        Ok(status) => assert!(status.success(), "{status}"),
    }
    let full = Gpu {
        ordinal: 0,
        name: "NVIDIA Test".into(),
        utilization: Some(0.87),
        memory_used_bytes: Some(400),
        memory_total_bytes: Some(1_000),
        temperature_celsius: Some(64.0),
        power_watts: Some(412.5),
    };
    let part = Gpu { ordinal: 1, name: "NVIDIA Test MIG 1g".into(), ..Gpu::default() };
    assert_eq!(read_once(&library, &[1, 0, 5]).unwrap(), [part, full]);
}

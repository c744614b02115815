//! Generates the wire types from `proto/` without needing `protoc`.
use std::path::PathBuf;
use std::{env, error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../proto");
    if env::var_os("CARGO_FEATURE_EDGE").is_none() {
        return Ok(());
    }
    let files = ["worker", "sweeps", "trainer"].map(|name| format!("gradsweep/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["../proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let encoded = protox::prost::Message::encode_to_vec(&descriptors);
    fs::write(out.join("descriptors.bin"), encoded)?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}

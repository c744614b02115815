//! Lets the trainer and its tests find libtorch beside the checkout, by a path relative to the
//! binary: no absolute path ties one to the machine it was built on.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The trainer lies in `target/release`, test binaries one folder lower. The nearer folder comes
    // first, so that the trainer never reaches out of the checkout.
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../../.libtorch/lib");
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../../../.libtorch/lib");
}

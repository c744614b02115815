//! Lets this package's tests find libtorch beside the checkout, by a path relative to the binary.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Test binaries lie in `target/release/deps`, examples and binaries one folder higher.
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../../../.libtorch/lib");
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../../.libtorch/lib");
}

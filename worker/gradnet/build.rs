//! Lets this package's tests and examples find libtorch beside the checkout, by a path relative to
//! the binary: no absolute path ties one to the machine it was built on.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Both lie in `target/release/deps` or a folder beside it.
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../../../.libtorch/lib");
}

//! The test binaries find libtorch by themselves and hold its CPU library alone.

use tch::{Kind, Tensor};

#[test]
fn libtorch_computes_without_any_environment_variable() {
    let x = Tensor::from_slice(&[1.0f64, 2.0, 3.0]);
    assert_eq!((&x * &x).sum(Kind::Double).double_value(&[]), 14.0);
}

/// One binary serves hosts with and without a GPU, so nothing may tie it to the CUDA library.
#[test]
fn the_binary_needs_no_cuda_library() {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux has /proc");
    assert!(maps.contains("libtorch_cpu.so"), "libtorch's CPU library is linked");
    assert!(!maps.contains("libtorch_cuda.so"), "the CUDA library is opened at run time alone");
}

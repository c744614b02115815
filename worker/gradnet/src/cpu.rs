//! Two settings of a process that trains on a CPU: the floating-point mode of its thread, and what
//! its allocator does with freed memory.
//!
//! Deep nets shrink signals and moments into the subnormal range, where x86 processors compute up
//! to a hundred times slower. PyTorch's `torch.set_flush_denormal(True)` is the same switch.

/// Keeps freed memory in the process for the next step. By default glibc gives the activations of
/// every step back to the system and faults them in again at the next, which was measured to take
/// a tenth of a step of narrow nets. Call it once, before the first tensor. Returns whether this
/// system's allocator has the settings.
pub fn keep_freed_memory() -> bool {
    retain()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn retain() -> bool {
    use std::ffi::c_int;

    const M_TRIM_THRESHOLD: c_int = -1;
    const M_MMAP_THRESHOLD: c_int = -3;
    /// The largest that glibc accepts on 64-bit systems.
    const MMAP_THRESHOLD_BYTES: c_int = 32 << 20;

    unsafe extern "C" {
        fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }
    // SAFETY: glibc's own function with this signature; it takes the allocator's lock, so it may
    // run at any time, and it refuses values it cannot use by returning 0.
    unsafe {
        mallopt(M_TRIM_THRESHOLD, c_int::MAX) != 0
            && mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES) != 0
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn retain() -> bool {
    false
}

/// Makes subnormal results and operands zero in this thread and in those it starts later. Call it
/// once, before the first tensor, on the thread that trains: with one thread, libtorch's backward
/// pass on a CPU runs on the caller. Returns whether this processor has the switch.
pub fn flush_denormals() -> bool {
    switch()
}

#[cfg(target_arch = "x86_64")]
fn switch() -> bool {
    const FLUSH_TO_ZERO: u32 = 1 << 15;
    const DENORMALS_ARE_ZERO: u32 = 1 << 6;
    let mut control = 0u32;
    // SAFETY: reads and writes MXCSR alone, through a live local. Rounding and exception masks stay
    // as they are. The compiler assumes the default mode, so a subnormal that it folds may differ
    // from one computed at run time: nothing in this workspace depends on subnormal values.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut control, options(nostack));
        control |= FLUSH_TO_ZERO | DENORMALS_ARE_ZERO;
        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const control, options(nostack, readonly));
    }
    true
}

#[cfg(target_arch = "aarch64")]
fn switch() -> bool {
    const FLUSH_TO_ZERO: u64 = 1 << 24;
    let mut control: u64;
    // SAFETY: sets one bit of FPCR and keeps the others; see the x86-64 twin for what it means.
    unsafe {
        std::arch::asm!("mrs {}, fpcr", out(reg) control, options(nostack, nomem));
        control |= FLUSH_TO_ZERO;
        std::arch::asm!("msr fpcr, {}", in(reg) control, options(nostack, nomem));
    }
    true
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn switch() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    #[test]
    fn subnormal_results_become_zero() {
        let half_of_smallest = || black_box(f32::MIN_POSITIVE) * black_box(0.5);
        // A thread of its own, so that the mode does not reach other tests.
        let (before, switched, after) = std::thread::spawn(move || {
            let before = half_of_smallest();
            (before, super::flush_denormals(), half_of_smallest())
        })
        .join()
        .expect("the thread ends");
        assert!(before > 0.0);
        assert_eq!(after == 0.0, switched);
    }
}

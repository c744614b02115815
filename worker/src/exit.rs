//! What the end of a trainer process means: an error of its own, or the host's memory.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::supervisor::{Exit, FailureCause};

const SIGKILL: i32 = 9;

/// What libtorch, C++ and the kernel's messages say when memory runs out.
const OUT_OF_MEMORY_SIGNS: [&str; 4] =
    ["std::bad_alloc", "out of memory", "can't allocate memory", "not enough memory"];

/// Reads the end of a process. `oom_kills`: processes that the kernel killed for memory while it
/// worked; it cannot say which, so a SIGKILL of unknown origin among them is taken for one.
pub fn classify(status: ExitStatus, oom_kills: u64, stderr_tail: String) -> Exit {
    let killed_for_memory = status.signal() == Some(SIGKILL) && oom_kills > 0;
    let said_so = !status.success()
        && OUT_OF_MEMORY_SIGNS.iter().any(|sign| {
            // Only the end: an error that was caught and survived stands further up.
            let end = stderr_tail.len().saturating_sub(2048);
            let end = stderr_tail.ceil_char_boundary(end);
            stderr_tail[end..].to_lowercase().contains(sign)
        });
    let cause = match killed_for_memory || said_so {
        true => FailureCause::OutOfMemory,
        false => FailureCause::TrainerDied,
    };
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was ended by {}", signal_name(signal)),
        (None, None) => format!("ended: {status}"),
    };
    let why = match cause {
        FailureCause::OutOfMemory => ", out of memory",
        FailureCause::TrainerDied | FailureCause::Data | FailureCause::Bug => "",
    };
    Exit { cause, message: format!("the trainer {how}{why}"), stderr_tail }
}

/// The kernel's count of processes that it killed for memory: in this process's control group
/// where there is one, else on the host. None where neither can be read.
pub fn oom_kills() -> Option<u64> {
    let group = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = group.lines().find_map(|line| line.strip_prefix("0::"));
    let events = path.and_then(|path| {
        fs::read_to_string(format!("/sys/fs/cgroup{}/memory.events", path.trim_end_matches('/')))
            .ok()
    });
    let counts = match events {
        Some(events) => events,
        None => fs::read_to_string("/proc/vmstat").ok()?,
    };
    count(&counts, "oom_kill")
}

fn count(counts: &str, key: &str) -> Option<u64> {
    counts.lines().find_map(|line| match line.split_once(' ') {
        Some((name, value)) if name == key => value.trim().parse().ok(),
        Some(_) | None => None,
    })
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        SIGKILL => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A status as `wait` returns it: the signal, or the exit code in the second byte.
    fn exit(raw: i32, oom_kills: u64, stderr: &str) -> (FailureCause, String) {
        let exit = classify(ExitStatus::from_raw(raw), oom_kills, stderr.into());
        (exit.cause, exit.message)
    }

    #[test]
    fn a_kill_is_out_of_memory_only_with_evidence() {
        let died = |text: &str| (FailureCause::TrainerDied, text.to_owned());
        let memory = |text: &str| (FailureCause::OutOfMemory, text.to_owned());
        assert_eq!(exit(9, 0, ""), died("the trainer was ended by SIGKILL"));
        assert_eq!(exit(9, 1, ""), memory("the trainer was ended by SIGKILL, out of memory"));
        assert_eq!(exit(11, 1, ""), died("the trainer was ended by SIGSEGV"));
        assert_eq!(exit(64, 0, ""), died("the trainer was ended by signal 64"));
        assert_eq!(exit(3 << 8, 0, "boom"), died("the trainer exited with status 3"));
    }

    #[test]
    fn stderr_tells_of_memory_when_it_is_the_last_word() {
        let alloc = "terminate called after throwing an instance of 'std::bad_alloc'";
        let torch = "DefaultCPUAllocator: can't allocate memory: you tried to allocate";
        let cuda = "CUDA error: Out of memory";
        for text in [alloc, torch, cuda] {
            assert_eq!(exit(6, 0, text).0, FailureCause::OutOfMemory, "{text}");
        }
        let long_ago = format!("{alloc}\n{}", "all well\n".repeat(1000));
        assert_eq!(exit(6, 0, &long_ago).0, FailureCause::TrainerDied);
        assert_eq!(exit(0, 0, alloc).0, FailureCause::TrainerDied);
    }

    #[test]
    fn the_kernels_count_is_read_from_both_forms() {
        assert_eq!(count("low 0\noom 2\noom_kill 3\noom_group_kill 4\n", "oom_kill"), Some(3));
        assert_eq!(count("pgfault 1\noom_kill 12\n", "oom_kill"), Some(12));
        assert_eq!(count("low 0\n", "oom_kill"), None);
    }
}

//! What a worker can still ask of the kernel: an allow-list of system calls (seccomp(2)) and no file at all
//! (landlock(7)).
//!
//! Whoever takes a worker over by a datagram it misreads can send on the sockets it holds, and nothing else: open no
//! file or socket, start no program, touch no other process. What is not on the list fails with EPERM instead of
//! ending the process: a C library that asks for something new costs a refusal, not the relay.

use std::collections::BTreeMap;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetError};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// Newest interface whose rights are asked for; older kernels give what they know of it.
const LANDLOCK_ABI: ABI = ABI::V5;

/// `libc::F_GETFD` as an argument.
const F_GETFD: u64 = 1;

/// A fence that could not be put up.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The filter of system calls.
    #[error("cannot filter system calls: {0}; the kernel needs CONFIG_SECCOMP_FILTER")]
    Seccomp(#[from] seccompiler::Error),
    /// The same, before the kernel was asked.
    #[error("cannot filter system calls: {0}")]
    Filter(#[from] seccompiler::BackendError),
    /// Access to files.
    #[error("cannot give up access to files: {0}")]
    Landlock(#[from] RulesetError),
}

/// Fences the calling process in, for good. It has one thread, no_new_privs, and all descriptors it starts with.
///
/// # Errors
/// The fence that could not be put up; the process must then end. A kernel without landlock is none: without
/// open(2) there is no file to be had.
pub fn seal() -> Result<(), SandboxError> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK_ABI))?
        .handle_access(AccessNet::from_all(LANDLOCK_ABI))?
        .create()?
        .restrict_self()?;
    apply_filter(&filter()?)?;
    Ok(())
}

fn filter() -> Result<BpfProgram, SandboxError> {
    let architecture = std::env::consts::ARCH.try_into()?;
    let allowed = allowed()?;
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    Ok(SeccompFilter::new(allowed, refused, SeccompAction::Allow, architecture)?.try_into()?)
}

/// System calls by number, each with the conditions of which one must hold, or none.
fn allowed() -> Result<BTreeMap<i64, Vec<SeccompRule>>, SandboxError> {
    let anywhere = [
        // Its loop: frames, the control socket, egress.
        libc::SYS_ppoll,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_sendmmsg,
        libc::SYS_sendmsg,
        // A new table: its memory is read, sockets it does not name are closed.
        libc::SYS_pread64,
        libc::SYS_close,
        // Memory.
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        // Time, where the kernel page that tells it without a call is not there.
        libc::SYS_clock_gettime,
        // The way out: destructors, a panic's message and abort.
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
    ];
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = anywhere.map(|call| (call, Vec::new())).into();
    #[cfg(target_arch = "x86_64")]
    allowed.insert(libc::SYS_poll, Vec::new());
    // A build with assertions looks whether a descriptor is open before it closes it.
    let command = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, F_GETFD)?;
    allowed.insert(libc::SYS_fcntl, vec![SeccompRule::new(vec![command])?]);
    let not_executable = without(2, libc::PROT_EXEC)?;
    let anonymous = masked(3, libc::MAP_ANONYMOUS, libc::MAP_ANONYMOUS)?;
    allowed.insert(libc::SYS_mmap, vec![SeccompRule::new(vec![not_executable.clone(), anonymous])?]);
    allowed.insert(libc::SYS_mprotect, vec![SeccompRule::new(vec![not_executable])?]);
    // Standard error, for a worker that has lost its supervisor.
    let standard_error = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, 2)?;
    allowed.insert(libc::SYS_write, vec![SeccompRule::new(vec![standard_error])?]);
    // abort(3) signals its own process.
    let own = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, std::process::id().into())?;
    allowed.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![own])?]);
    Ok(allowed)
}

fn without(argument: u8, bits: i32) -> Result<SeccompCondition, SandboxError> {
    masked(argument, bits, 0)
}

/// That an argument has, of these bits, just those of `value`.
fn masked(argument: u8, bits: i32, value: i32) -> Result<SeccompCondition, SandboxError> {
    let [bits, value] = [bits, value].map(|bits| u64::from(bits.unsigned_abs()));
    let compare = SeccompCmpOp::MaskedEq(bits);
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)?)
}

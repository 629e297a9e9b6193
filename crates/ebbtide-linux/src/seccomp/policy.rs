//! What a sandboxed program may ask of the kernel: the tables, and the few calls whose arguments count.
//!
//! The policy never allows what Docker's default profile refuses to an ordinary container, so an image that works there
//! works here, and what was judged safe there is not judged anew. It is stricter where that costs nobody anything: socket
//! families, other netlink protocols than route, TIOCSTI, 16-bit code segments (`modify_ldt`).
//!
//! Three kinds of number: allowed, refused (EPERM: the kernel has it, a sandbox does not), unknown (ENOSYS: newer than
//! these tables, and C libraries then fall back to older calls as they would on an older kernel).

use libc::*;

use super::numbers::*;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    /// Returns this error number.
    Refuse(i32),
    /// Ends the process.
    Kill,
}

/// A question about an argument. Only its lower 32 bits are looked at: every argument in question is 32 bits wide in
/// the kernel, which ignores the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Is(u32),
    IsNot(u32),
    HasAny(u32),
}

/// One line of a rule: when the test of the argument succeeds, this is the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) argument: u32,
    pub(super) test: Test,
    pub(super) verdict: Verdict,
}

/// The first line that applies decides, else `otherwise`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) lines: &'static [Line],
    pub(super) otherwise: Verdict,
}

const fn always(verdict: Verdict) -> Rule {
    Rule { lines: &[], otherwise: verdict }
}

const fn line(argument: u32, test: Test, verdict: Verdict) -> Line {
    Line { argument, test, verdict }
}

pub(super) const ALLOWED: Rule = always(Verdict::Allow);
pub(super) const REFUSED: Rule = always(Verdict::Refuse(EPERM));
pub(super) const UNKNOWN: Rule = always(Verdict::Refuse(ENOSYS));
#[cfg(target_arch = "x86_64")]
pub(super) const KILLED: Rule = always(Verdict::Kill);

const NAMESPACES: u32 = (CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET) as u32;
const PER_LINUX32: i32 = 8;
const TIOCLINUX: u32 = 0x541c;

const NO_NAMESPACES: Rule =
    Rule { lines: &[line(0, Test::HasAny(NAMESPACES), Verdict::Refuse(EPERM))], otherwise: Verdict::Allow };

/// Both write into a terminal as if its user had typed it.
const NO_TYPING: Rule = Rule {
    lines: &[
        line(1, Test::Is(TIOCSTI as u32), Verdict::Refuse(EPERM)),
        line(1, Test::Is(TIOCLINUX), Verdict::Refuse(EPERM)),
    ],
    otherwise: Verdict::Allow,
};

/// Without address randomisation switched off, and without the memory layouts of other systems.
const HARMLESS_PERSONALITIES: Rule = Rule {
    lines: &[
        line(0, Test::Is(0), Verdict::Allow),
        line(0, Test::Is(PER_LINUX32 as u32), Verdict::Allow),
        line(0, Test::Is(UNAME26 as u32), Verdict::Allow),
        line(0, Test::Is((UNAME26 | PER_LINUX32) as u32), Verdict::Allow),
        // Asks what it is, changes nothing.
        line(0, Test::Is(u32::MAX), Verdict::Allow),
    ],
    otherwise: Verdict::Refuse(EPERM),
};

/// Not the rare families: AF_VSOCK reaches the hypervisor, and AF_ALG, AF_PACKET and their like are kernel code that has
/// been broken again and again. The errors are what a kernel without them says, so programs know how to go on.
const COMMON_SOCKETS: Rule = Rule {
    lines: &[
        line(0, Test::Is(AF_UNIX as u32), Verdict::Allow),
        line(0, Test::Is(AF_INET as u32), Verdict::Allow),
        line(0, Test::Is(AF_INET6 as u32), Verdict::Allow),
        line(0, Test::IsNot(AF_NETLINK as u32), Verdict::Refuse(EAFNOSUPPORT)),
        line(2, Test::Is(NETLINK_ROUTE as u32), Verdict::Allow),
    ],
    otherwise: Verdict::Refuse(EPROTONOSUPPORT),
};

const LOCAL_PAIRS: Rule = Rule {
    lines: &[line(0, Test::Is(AF_UNIX as u32), Verdict::Allow)],
    otherwise: Verdict::Refuse(EAFNOSUPPORT),
};

/// Calls whose arguments count, and the one that must look absent: its flags are in memory, where no filter sees them.
pub(super) const RULES: &[(c_long, Rule)] = &[
    (SYS_clone, NO_NAMESPACES),
    (SYS_clone3, UNKNOWN),
    (SYS_ioctl, NO_TYPING),
    (SYS_personality, HARMLESS_PERSONALITIES),
    (SYS_socket, COMMON_SOCKETS),
    (SYS_socketpair, LOCAL_PAIRS),
];

macro_rules! calls {
    ($($name:ident)*) => { &[$((stringify!($name), $name)),*] };
}

/// Allowed whatever the arguments are.
pub(super) const ALLOW: &[(&str, c_long)] = calls! {
    SYS_accept SYS_accept4 SYS_adjtimex SYS_bind SYS_brk SYS_cachestat SYS_capget SYS_capset SYS_chdir
    SYS_chroot SYS_clock_adjtime SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_close
    SYS_close_range SYS_connect SYS_copy_file_range SYS_dup SYS_dup3 SYS_epoll_create1 SYS_epoll_ctl
    SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_execve SYS_execveat SYS_exit SYS_exit_group
    SYS_faccessat SYS_faccessat2 SYS_fadvise64 SYS_fallocate SYS_fanotify_mark SYS_fchdir SYS_fchmod
    SYS_fchmodat SYS_fchmodat2 SYS_fchown SYS_fchownat SYS_fcntl SYS_fdatasync SYS_fgetxattr
    SYS_flistxattr SYS_flock SYS_fremovexattr SYS_fsetxattr SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate
    SYS_futex SYS_futex_requeue SYS_futex_wait SYS_futex_waitv SYS_futex_wake SYS_get_robust_list
    SYS_getcpu SYS_getcwd SYS_getdents64 SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups SYS_getitimer
    SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid SYS_getpriority SYS_getrandom SYS_getresgid
    SYS_getresuid SYS_getrlimit SYS_getrusage SYS_getsid SYS_getsockname SYS_getsockopt SYS_gettid
    SYS_gettimeofday SYS_getuid SYS_getxattr SYS_getxattrat SYS_inotify_add_watch SYS_inotify_init1
    SYS_inotify_rm_watch SYS_io_cancel SYS_io_destroy SYS_io_getevents SYS_io_pgetevents SYS_io_setup
    SYS_io_submit SYS_ioprio_get SYS_ioprio_set SYS_kill SYS_landlock_add_rule SYS_landlock_create_ruleset
    SYS_landlock_restrict_self SYS_lgetxattr SYS_linkat SYS_listen SYS_listmount SYS_listxattr
    SYS_listxattrat SYS_llistxattr SYS_lremovexattr SYS_lseek SYS_lsetxattr SYS_madvise
    SYS_map_shadow_stack SYS_membarrier SYS_memfd_create SYS_memfd_secret SYS_mincore SYS_mkdirat
    SYS_mknodat SYS_mlock SYS_mlock2 SYS_mlockall SYS_mmap SYS_mprotect SYS_mq_getsetattr SYS_mq_notify
    SYS_mq_open SYS_mq_timedreceive SYS_mq_timedsend SYS_mq_unlink SYS_mremap SYS_mseal SYS_msgctl
    SYS_msgget SYS_msgrcv SYS_msgsnd SYS_msync SYS_munlock SYS_munlockall SYS_munmap SYS_name_to_handle_at
    SYS_nanosleep SYS_newfstatat SYS_openat SYS_openat2 SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2
    SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2
    SYS_prlimit64 SYS_process_mrelease SYS_process_vm_readv SYS_process_vm_writev SYS_pselect6 SYS_ptrace
    SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readahead SYS_readlinkat SYS_readv SYS_recvfrom
    SYS_recvmmsg SYS_recvmsg SYS_remap_file_pages SYS_removexattr SYS_removexattrat SYS_renameat
    SYS_renameat2 SYS_restart_syscall SYS_rseq SYS_rt_sigaction SYS_rt_sigpending SYS_rt_sigprocmask
    SYS_rt_sigqueueinfo SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo
    SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_getaffinity SYS_sched_getattr
    SYS_sched_getparam SYS_sched_getscheduler SYS_sched_rr_get_interval SYS_sched_setaffinity
    SYS_sched_setattr SYS_sched_setparam SYS_sched_setscheduler SYS_sched_yield SYS_seccomp SYS_semctl
    SYS_semget SYS_semop SYS_semtimedop SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto
    SYS_set_robust_list SYS_set_tid_address SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups
    SYS_setitimer SYS_setpgid SYS_setpriority SYS_setregid SYS_setresgid SYS_setresuid SYS_setreuid
    SYS_setrlimit SYS_setsid SYS_setsockopt SYS_setuid SYS_setxattr SYS_setxattrat SYS_shmat SYS_shmctl
    SYS_shmdt SYS_shmget SYS_shutdown SYS_sigaltstack SYS_signalfd4 SYS_splice SYS_statfs SYS_statmount
    SYS_statx SYS_symlinkat SYS_sync SYS_sync_file_range SYS_syncfs SYS_sysinfo SYS_tee SYS_tgkill
    SYS_timer_create SYS_timer_delete SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime
    SYS_timerfd_create SYS_timerfd_gettime SYS_timerfd_settime SYS_times SYS_tkill SYS_truncate SYS_umask
    SYS_uname SYS_unlinkat SYS_utimensat SYS_vmsplice SYS_wait4 SYS_waitid SYS_write SYS_writev
};

/// Allowed too: x86_64 alone still has the calls that newer ones replace.
#[cfg(target_arch = "x86_64")]
pub(super) const ALLOW_HERE: &[(&str, c_long)] = calls! {
    SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create
    SYS_epoll_wait SYS_eventfd SYS_fork SYS_futimesat SYS_getdents SYS_getpgrp SYS_inotify_init SYS_lchown
    SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_open SYS_pause SYS_pipe SYS_poll SYS_readlink SYS_rename
    SYS_rmdir SYS_select SYS_signalfd SYS_stat SYS_symlink SYS_time SYS_unlink SYS_uretprobe SYS_utime
    SYS_utimes SYS_vfork
};
#[cfg(not(target_arch = "x86_64"))]
pub(super) const ALLOW_HERE: &[(&str, c_long)] = &[];

/// What the kernel has and a sandbox does not.
pub(super) const REFUSE: &[(&str, c_long)] = calls! {
    SYS_acct SYS_add_key SYS_bpf SYS_clock_settime SYS_delete_module SYS_fanotify_init SYS_file_getattr
    SYS_file_setattr SYS_finit_module SYS_fsconfig SYS_fsmount SYS_fsopen SYS_fspick SYS_get_mempolicy
    SYS_init_module SYS_io_uring_enter SYS_io_uring_register SYS_io_uring_setup SYS_kcmp
    SYS_kexec_file_load SYS_kexec_load SYS_keyctl SYS_listns SYS_lookup_dcookie SYS_lsm_get_self_attr
    SYS_lsm_list_modules SYS_lsm_set_self_attr SYS_mbind SYS_migrate_pages SYS_mount SYS_mount_setattr
    SYS_move_mount SYS_move_pages SYS_open_by_handle_at SYS_open_tree SYS_open_tree_attr
    SYS_perf_event_open SYS_pidfd_getfd SYS_pivot_root SYS_process_madvise SYS_quotactl SYS_quotactl_fd
    SYS_reboot SYS_request_key SYS_set_mempolicy SYS_set_mempolicy_home_node SYS_setdomainname
    SYS_sethostname SYS_setns SYS_settimeofday SYS_swapoff SYS_swapon SYS_syslog SYS_umount2 SYS_unshare
    SYS_userfaultfd SYS_vhangup
};

/// Refused too, on x86_64.
#[cfg(target_arch = "x86_64")]
pub(super) const REFUSE_HERE: &[(&str, c_long)] = calls! {
    SYS_ioperm SYS_iopl SYS_modify_ldt SYS_sysfs SYS_ustat
};
#[cfg(not(target_arch = "x86_64"))]
pub(super) const REFUSE_HERE: &[(&str, c_long)] = &[];

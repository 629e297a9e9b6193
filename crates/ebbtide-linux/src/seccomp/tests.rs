//! The program against the tables (by an interpreter of the few instructions that it uses), and against the kernel.

use std::collections::BTreeMap;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use proptest::prelude::*;

use super::policy::{Test, Verdict};
use super::program::{NATIVE, encode};
use super::*;

/// What the kernel would do with the program; panics on anything that the kernel's checker refuses.
fn run(program: &[sock_filter], architecture: u32, number: u32, arguments: [u64; 6]) -> (u32, usize) {
    let mut data = [0u8; 64];
    data[..4].copy_from_slice(&number.to_le_bytes());
    data[4..8].copy_from_slice(&architecture.to_le_bytes());
    for (slot, argument) in data[16..].chunks_exact_mut(8).zip(arguments) {
        slot.copy_from_slice(&argument.to_le_bytes());
    }
    let (mut accumulator, mut at) = (0u32, 0);
    for steps in 1.. {
        let step = program[at];
        let jump = |taken| at + 1 + usize::from(if taken { step.jt } else { step.jf });
        at = match step.code {
            0x20 => {
                let offset = step.k as usize;
                accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
                at + 1
            }
            0x05 => at + 1 + step.k as usize,
            0x15 => jump(accumulator == step.k),
            0x35 => jump(accumulator >= step.k),
            0x45 => jump(accumulator & step.k != 0),
            0x06 => return (step.k, steps),
            code => panic!("instruction {code:#x} at {at}"),
        };
    }
    unreachable!()
}

/// The tables read directly.
fn expected(table: &BTreeMap<u32, Rule>, number: u32, arguments: [u64; 6]) -> Verdict {
    if cfg!(target_arch = "x86_64") && (0x4000_0000..0x8000_0000).contains(&number) {
        return Verdict::Kill;
    }
    let Some(rule) = table.get(&number) else { return Verdict::Refuse(libc::ENOSYS) };
    let applies = |line: &&policy::Line| {
        let value = arguments[line.argument as usize] as u32;
        match line.test {
            Test::Is(wanted) => value == wanted,
            Test::IsNot(other) => value != other,
            Test::HasAny(bits) => value & bits != 0,
        }
    };
    rule.lines.iter().find(applies).map_or(rule.otherwise, |line| line.verdict)
}

fn verdict(number: libc::c_long, arguments: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    run(&Filter::payload().program, NATIVE, number as u32, all).0
}

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

fn refuse(error: i32) -> u32 {
    encode(Verdict::Refuse(error))
}

#[test]
fn the_program_says_what_the_tables_say() {
    let (filter, table) = (Filter::payload(), calls().collect());
    for number in (0..600).chain([0x3fff_ffff, 0x4000_0000, 0x4000_0027, 0x7fff_ffff, 0x8000_0000, u32::MAX])
    {
        for first in
            [0u64, 1, 2, 8, 10, 16, 38, 40, 0x20000, 0x20008, 0x1000_0000, u64::from(u32::MAX), 1 << 32]
        {
            for second in [0, 0x5412, 0x541c, 0x5413, 0xffff_ffff_0000_5412] {
                for third in [0, 4, 12] {
                    let arguments = [first, second, third, 7, 7, 7];
                    let (found, steps) = run(&filter.program, NATIVE, number, arguments);
                    assert_eq!(found, encode(expected(&table, number, arguments)), "{number} {arguments:x?}");
                    assert!(steps < 32, "{number} takes {steps} steps");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn the_program_says_what_the_tables_say_about_anything(
        number in prop_oneof![0u32..600, any::<u32>()],
        arguments in prop::array::uniform6(prop_oneof![any::<u64>(), 0u64..64]),
    ) {
        let found = run(&Filter::payload().program, NATIVE, number, arguments).0;
        prop_assert_eq!(found, encode(expected(&calls().collect(), number, arguments)));
    }

    #[test]
    fn any_set_of_rules_is_searched_rightly(
        numbers in prop::collection::btree_map(0u32..1500, 0i32..3, 0..1200),
    ) {
        let rule = |error: &i32| Rule { lines: &[], otherwise: Verdict::Refuse(*error) };
        let program = program::assemble(&program::ranges(numbers.iter().map(|(number, error)| (*number, rule(error)))));
        for number in 0..1510 {
            let wanted = numbers.get(&number).map_or(refuse(libc::ENOSYS), |error| refuse(*error));
            prop_assert_eq!(run(&program, NATIVE, number, [0; 6]).0, wanted, "{}", number);
        }
    }
}

#[test]
fn another_architecture_is_killed() {
    for architecture in [0x4000_0003, 0x4000_0028, 0, !NATIVE] {
        let (found, _) = run(&Filter::payload().program, architecture, 39, [0; 6]);
        assert_eq!(found, libc::SECCOMP_RET_KILL_PROCESS);
    }
}

#[test]
fn arguments_decide_where_they_must() {
    for namespace in [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ] {
        let flags = (namespace | libc::CLONE_VM | libc::SIGCHLD) as u32 as u64;
        assert_eq!(verdict(libc::SYS_clone, &[flags]), refuse(libc::EPERM));
    }
    // What glibc passes for a thread and for fork.
    assert_eq!(verdict(libc::SYS_clone, &[0x003d_0f00]), ALLOW);
    assert_eq!(verdict(libc::SYS_clone, &[0x0120_0011]), ALLOW);
    assert_eq!(verdict(libc::SYS_clone3, &[]), refuse(libc::ENOSYS));
    // The upper half is ignored by the kernel, so it must not hide anything.
    assert_eq!(verdict(libc::SYS_ioctl, &[0, 0xdead_0000_5412]), refuse(libc::EPERM));
    assert_eq!(verdict(libc::SYS_ioctl, &[0, libc::TIOCGWINSZ]), ALLOW);
    for family in 0..64 {
        let wanted = match family {
            libc::AF_UNIX | libc::AF_INET | libc::AF_INET6 => ALLOW,
            libc::AF_NETLINK => ALLOW,
            _ => refuse(libc::EAFNOSUPPORT),
        };
        assert_eq!(verdict(libc::SYS_socket, &[family as u64, 1, 0]), wanted, "family {family}");
        let pair = if family == libc::AF_UNIX { ALLOW } else { refuse(libc::EAFNOSUPPORT) };
        assert_eq!(verdict(libc::SYS_socketpair, &[family as u64, 1, 0]), pair, "family {family}");
    }
    for protocol in 1..32 {
        let found = verdict(libc::SYS_socket, &[libc::AF_NETLINK as u64, 3, protocol]);
        assert_eq!(found, refuse(libc::EPROTONOSUPPORT));
    }
}

#[test]
fn the_tables_are_sorted_and_say_each_call_once() {
    let mut seen = BTreeMap::new();
    for table in [policy::ALLOW, policy::ALLOW_HERE, policy::REFUSE, policy::REFUSE_HERE] {
        assert!(table.is_sorted_by(|one, other| one.0 < other.0));
        for (name, number) in table {
            assert_eq!(seen.insert(*number, *name), None, "{name}");
        }
    }
    for (number, _) in RULES {
        assert_eq!(seen.insert(*number, "rule"), None, "{number}");
    }
}

/// The file holds the names that Docker's default profile allows to a container without added capabilities, whatever
/// their arguments; `arch_prctl` and `modify_ldt` on x86-64 only, `chroot` for root.
#[test]
fn nothing_is_allowed_that_dockers_profile_refuses() {
    let docker: Vec<&str> = include_str!("docker_default.txt").split_whitespace().collect();
    for (name, _) in policy::ALLOW.iter().chain(policy::ALLOW_HERE) {
        assert!(docker.contains(&name.trim_start_matches("SYS_")), "{name}");
    }
}

/// Runs `body` in a forked child without new privileges; its answer is the exit code.
fn forked(body: impl FnOnce() -> i32) -> std::process::ExitStatus {
    // SAFETY: the child calls nothing but system calls (this process may have other threads) and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: as above; the arguments are constants.
        let armed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == 0;
        let code = if armed { body() } else { 99 };
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(code) }
    }
    let mut status = 0;
    // SAFETY: `status` lives through the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    std::process::ExitStatus::from_raw(status)
}

fn filtered(body: impl FnOnce() -> i32) -> std::process::ExitStatus {
    let filter = Filter::payload();
    forked(|| if filter.install().is_ok() { body() } else { 98 })
}

fn errno_of(number: libc::c_long, arguments: [u64; 3]) -> i32 {
    // SAFETY: the filter refuses every call that the tests pass here, or the arguments are invalid.
    let result = unsafe { libc::syscall(number, arguments[0], arguments[1], arguments[2], 0, 0, 0) };
    // SAFETY: reads this thread's own error number.
    if result == -1 { unsafe { *libc::__errno_location() } } else { 0 }
}

#[test]
fn the_kernel_refuses_what_the_filter_refuses() {
    let cases: [(libc::c_long, [u64; 3], i32); 18] = [
        (libc::SYS_unshare, [libc::CLONE_NEWUSER as u64, 0, 0], libc::EPERM),
        (libc::SYS_setns, [0, 0, 0], libc::EPERM),
        (libc::SYS_mount, [0; 3], libc::EPERM),
        (libc::SYS_umount2, [0; 3], libc::EPERM),
        (libc::SYS_bpf, [0; 3], libc::EPERM),
        (libc::SYS_perf_event_open, [0; 3], libc::EPERM),
        (libc::SYS_userfaultfd, [0; 3], libc::EPERM),
        (libc::SYS_io_uring_setup, [0; 3], libc::EPERM),
        (libc::SYS_keyctl, [0; 3], libc::EPERM),
        (libc::SYS_add_key, [0; 3], libc::EPERM),
        (libc::SYS_fsopen, [0; 3], libc::EPERM),
        (libc::SYS_clone, [libc::CLONE_NEWUSER as u64, 0, 0], libc::EPERM),
        (libc::SYS_clone3, [0; 3], libc::ENOSYS),
        (libc::SYS_ioctl, [0, libc::TIOCSTI, 0], libc::EPERM),
        (libc::SYS_socket, [libc::AF_VSOCK as u64, 1, 0], libc::EAFNOSUPPORT),
        (libc::SYS_socket, [libc::AF_NETLINK as u64, 3, 12], libc::EPROTONOSUPPORT),
        (libc::SYS_personality, [0x0040_0000, 0, 0], libc::EPERM),
        (599, [0; 3], libc::ENOSYS),
    ];
    let status = filtered(|| {
        let wrong =
            cases.iter().position(|(number, arguments, error)| errno_of(*number, *arguments) != *error);
        wrong.map_or(0, |case| case as i32 + 1)
    });
    assert_eq!(status.code(), Some(0), "the code is the number of the first wrong case");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_kernel_kills_for_x32_calls() {
    let status = filtered(|| errno_of(0x4000_0000 | libc::SYS_getpid, [0; 3]));
    assert_eq!(status.signal(), Some(libc::SIGSYS));
}

#[test]
fn ordinary_programs_run_under_the_filter() {
    let script = "set -e; d=$(mktemp -d); echo hello > $d/a; ln -s a $d/b; mkfifo $d/f; grep hello $d/b | cat > $d/c; \
        chmod 600 $d/c; stat $d/c > /dev/null; ( sleep 0.01 & wait ); kill -0 $$; rm -r $d; echo done";
    let filter = Filter::payload();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    let arm = move || {
        // SAFETY: a system call with constant arguments.
        if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
        filter.install()
    };
    // SAFETY: the closure makes two system calls and allocates nothing.
    let output = unsafe { command.pre_exec(arm) }.output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "done\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

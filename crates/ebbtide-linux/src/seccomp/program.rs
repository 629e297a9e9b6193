//! From rules to a classic BPF program: a binary search over ranges of system call numbers.
//!
//! The filter is loaded at every exec. The kernel then translates the whole program and runs it once for every number that
//! exists, to remember which are always allowed. A chain of comparisons makes that some 400 steps for each of
//! some 450 numbers; a tree makes it 8.

use libc::sock_filter;

use super::policy::{Line, Rule, Test, UNKNOWN, Verdict};

const LOAD: u16 = 0x20;
const RETURN: u16 = 0x06;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;

/// Offsets into `struct seccomp_data`; both architectures are little endian, so an argument's lower half is first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

#[cfg(target_arch = "x86_64")]
pub(super) const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const NATIVE: u32 = 0xc000_00b7;

/// The same rule for every number from `first` up to the next range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) rule: Rule,
}

/// Ranges that cover every number: those of `calls` (each once) by their rules, all others unknown.
pub(super) fn ranges(calls: impl IntoIterator<Item = (u32, Rule)>) -> Vec<Range> {
    let mut calls: Vec<_> = calls.into_iter().collect();
    calls.sort_by_key(|(number, _)| *number);
    let mut ranges = vec![Range { first: 0, rule: UNKNOWN }];
    for (number, rule) in calls {
        // The range of this number alone, and of what follows until the next call is put there.
        ranges.push(Range { first: number, rule });
        ranges.push(Range { first: number + 1, rule: UNKNOWN });
    }
    // Where the next call follows at once, its rule replaces the "unknown" there. Neighbours with the same rule are one.
    ranges.dedup_by(|later, earlier| {
        let same = later.first == earlier.first;
        if same {
            *earlier = *later;
        }
        same
    });
    ranges.dedup_by(|later, earlier| later.rule == earlier.rule);
    ranges
}

/// The program for ranges that are sorted and begin with 0.
pub(super) fn assemble(ranges: &[Range]) -> Vec<sock_filter> {
    let mut program =
        vec![load(ARCHITECTURE), branch(JUMP_EQUAL, NATIVE, 1, 0), give(Verdict::Kill), load(NUMBER)];
    program.extend(search(ranges));
    program
}

fn search(ranges: &[Range]) -> Vec<sock_filter> {
    if let [range] = ranges {
        return decide(&range.rule);
    }
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let (below, above) = (search(lower), search(upper));
    let mut code = match u8::try_from(below.len()) {
        Ok(skip) => vec![branch(JUMP_GREATER_OR_EQUAL, upper[0].first, skip, 0)],
        Err(_) => vec![
            branch(JUMP_GREATER_OR_EQUAL, upper[0].first, 0, 1),
            instruction(JUMP, 0, 0, below.len() as u32),
        ],
    };
    code.extend(below);
    code.extend(above);
    code
}

fn decide(rule: &Rule) -> Vec<sock_filter> {
    let mut code = Vec::new();
    let mut loaded = None;
    for Line { argument, test, verdict } in rule.lines {
        if loaded != Some(argument) {
            code.push(load(ARGUMENTS + 8 * argument));
            loaded = Some(argument);
        }
        code.push(match test {
            Test::Is(value) => branch(JUMP_EQUAL, *value, 0, 1),
            Test::IsNot(value) => branch(JUMP_EQUAL, *value, 1, 0),
            Test::HasAny(bits) => branch(JUMP_ANY_BIT, *bits, 0, 1),
        });
        code.push(give(*verdict));
    }
    code.push(give(rule.otherwise));
    code
}

fn load(offset: u32) -> sock_filter {
    instruction(LOAD, 0, 0, offset)
}

fn branch(code: u16, value: u32, then: u8, otherwise: u8) -> sock_filter {
    instruction(code, then, otherwise, value)
}

fn give(verdict: Verdict) -> sock_filter {
    instruction(RETURN, 0, 0, encode(verdict))
}

pub(super) fn encode(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Allow => libc::SECCOMP_RET_ALLOW,
        Verdict::Refuse(error) => libc::SECCOMP_RET_ERRNO | error as u32,
        Verdict::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    }
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

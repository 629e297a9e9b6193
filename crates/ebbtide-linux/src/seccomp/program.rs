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
/// Conditional jumps skip 255 steps at most.
const FAR: usize = 255;

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
    let mut program = Backwards(Vec::new());
    program.search(ranges);
    let native = program.push(LOAD, NUMBER);
    let foreign = program.push(RETURN, encode(Verdict::Kill));
    program.branch(JUMP_EQUAL, NATIVE, native, foreign);
    program.push(LOAD, ARCHITECTURE);
    program.0.reverse();
    program.0
}

/// A program that is written from its end to its start. Jumps go forward only, so what they lead to is there already, and a
/// verdict is written once for all who reach it. Each function returns the place of what it wrote.
struct Backwards(Vec<sock_filter>);

impl Backwards {
    fn search(&mut self, ranges: &[Range]) -> usize {
        if let [range] = ranges {
            return self.decide(&range.rule);
        }
        let (lower, upper) = ranges.split_at(ranges.len() / 2);
        let (above, below) = (self.search(upper), self.search(lower));
        self.branch(JUMP_GREATER_OR_EQUAL, upper[0].first, above, below)
    }

    fn decide(&mut self, rule: &Rule) -> usize {
        let mut entry = self.give(rule.otherwise);
        for (index, Line { argument, test, verdict }) in rule.lines.iter().enumerate().rev() {
            let verdict = self.give(*verdict);
            entry = match test {
                Test::Is(value) => self.branch(JUMP_EQUAL, *value, verdict, entry),
                Test::IsNot(value) => self.branch(JUMP_EQUAL, *value, entry, verdict),
                Test::HasAny(bits) => self.branch(JUMP_ANY_BIT, *bits, verdict, entry),
            };
            let loaded = index > 0 && rule.lines[index - 1].argument == *argument;
            if !loaded {
                entry = self.push(LOAD, ARGUMENTS + 8 * argument);
            }
        }
        entry
    }

    fn give(&mut self, verdict: Verdict) -> usize {
        let value = encode(verdict);
        let written = self.0.iter().rposition(|step| step.code == RETURN && step.k == value);
        match written {
            Some(place) if self.distance(place) < FAR => place,
            _ => self.push(RETURN, value),
        }
    }

    fn branch(&mut self, code: u16, value: u32, then: usize, otherwise: usize) -> usize {
        let (then, otherwise) = (self.near(then), self.near(otherwise));
        let (jt, jf) = (self.distance(then) as u8, self.distance(otherwise) as u8);
        self.0.push(sock_filter { code, jt, jf, k: value });
        self.0.len() - 1
    }

    /// A place that one byte can reach, and can still when one more step is written first.
    fn near(&mut self, place: usize) -> usize {
        match self.distance(place) {
            distance if distance >= FAR => self.push(JUMP, distance as u32),
            _ => place,
        }
    }

    /// How many steps a jump from the step that is written next skips to get to `place`.
    fn distance(&self, place: usize) -> usize {
        self.0.len() - 1 - place
    }

    fn push(&mut self, code: u16, k: u32) -> usize {
        self.0.push(sock_filter { code, jt: 0, jf: 0, k });
        self.0.len() - 1
    }
}

pub(super) fn encode(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Allow => libc::SECCOMP_RET_ALLOW,
        Verdict::Refuse(error) => libc::SECCOMP_RET_ERRNO | error as u32,
        Verdict::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    }
}

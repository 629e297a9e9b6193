//! Writes docs/benchmarks.md: the numbers, what they were measured on, and how they compare with the goals.

use std::fmt::Write as _;

use crate::copies::{self, Copies};
use crate::images::{self, Images};
use crate::measure::{Aftermath, Amount, GAP, Outcome};
use crate::output::{MEBIBYTES, Throughput};
use crate::stats::{Samples, Summary};
use crate::subject::{Contest, Subject};

const HEAD: &str = "\
# Benchmarks

What one disposable command costs, beside what else there is. This page is the output of `cargo xtask bench`; run it
yourself (root, Debian 12):

```sh
cargo xtask bench --install   # installs what it is compared with, builds a release, measures for nine minutes
cargo xtask bench --quick     # one minute: shows that it works, gives no numbers to quote
cargo xtask bench --only exec # one table of it, printed; may be repeated
```

## What is measured

- **create → exec → gone**: over gRPC by the Rust client (`ebbtide`) on a warm channel: CreateSandbox, a StreamExec of
  `/bin/true` up to its exit code, DeleteSandbox with no grace, then Wait, whose answer says that nothing of the sandbox
  is left. Default settings: user namespace, own network namespace, bounds on memory, processes and disk, seccomp.
- **exec**: `/bin/true` in a sandbox that runs; *by `Sandbox`*: the same through the handle that programs use, which collects
  the output. **stop**: DeleteSandbox with no grace up to Wait's answer.
- *From Python*: the same by Ebbtide's own package, which finds the daemon as the Rust client does, with `.result()` and
  awaited on an event loop; and by the package `cwsandbox` from PyPI as it is, over TCP with a key. Beside what a Python
  program would do without them, which is to start `crun exec`. (Docker's own client for Python asks a daemon
  that asks another that starts `runc exec`.) Both collect the output.
- The others run the same program, started by a small helper process, from its fork to its end. bwrap and the containers
  see the host's `/usr` read-only, as the image `host` does. crun and runc get bounds on memory and processes, but no user
  namespace, no bounded disk and no seccomp filter; bwrap and `unshare` get no bounds at all. That is to their advantage.
- **A file**: 256 MiB by `ebb cp`, the program's start included, beside `cp` from one place of the home's disk to another.
- **Images**: from a `docker-registry` on loopback into an empty home or storage; half of the image can be compressed. Nothing
  waits to be written to the disk at the start; at the end of `ebb image pull` everything is written, the others leave that to
  the kernel. The sandbox's first command is the host's `/bin/true`, which the images hold with its libraries.
- crun refuses to work beside the empty cgroup v2 tree of a hybrid host. It runs in a mount namespace without it.
- Contenders take turns in one run. *Back to back*: blocks of the same contender, so that each pays for its own
  aftermath. *With gaps*: the machine is idle before each measurement, as it is for a person who types a command.
- *Ratio* is of the medians; in brackets the quartiles of the ratio within each round, in which the rivals ran in turn.
  Where the quartiles are far apart, the machine was unsteady, and a small difference means nothing.

## How to read it

- Two numbers matter to a person: *with gaps* is what one command costs on an idle machine, *back to back* what it costs when
  many follow each other. Ebbtide makes sandboxes ahead. With gaps, one is always ready. Back to back, a block is longer than the
  pool is deep, so its numbers hold the whole price: making and releasing every namespace, cgroup and disk, on the same
  processors that run the command.
- The largest single part of that price is the network namespace, which the others that make one pay as well.
- A mount of the host costs a microsecond or two whoever copies the host's mount table, and more whoever walks it, as bwrap
  does. Ebbtide's launcher has a table of its own and does not notice.
- Minima are steadier than medians. Where *load before* is not near zero, other work ran beside: compare rows of the same
  table, not numbers of different runs.
";

/// The page.
pub(crate) fn page(
    machine: &[(&str, String)],
    amount: Amount,
    contests: &[Contest],
    outcomes: &[Outcome],
    aftermaths: &[Aftermath],
    images: Option<&Images>,
) -> String {
    let mut page = String::from(HEAD);
    // Writing to a string cannot fail.
    let _ = writeln!(page, "\n## Machine\n\n| | |\n|---|---|");
    for (name, value) in machine {
        let _ = writeln!(page, "| {name} | {value} |");
    }
    let _ = writeln!(
        page,
        "\nEach contender: {} rounds of {} back to back, {} single measurements with gaps of {} ms.",
        amount.rounds,
        amount.block,
        amount.gapped,
        GAP.as_millis()
    );
    goals(&mut page, outcomes);
    for outcome in outcomes {
        let _ = writeln!(page, "\n## {}\n", title(outcome));
        for contest in contests {
            table(&mut page, *contest, outcome);
        }
    }
    if let Some((throughput, copies)) = aftermaths.first().and_then(|after| after.rates.as_ref()) {
        output(&mut page, throughput);
        copied(&mut page, copies);
    }
    if let Some(images) = images {
        images::tables(&mut page, images);
    }
    after(&mut page, aftermaths);
    page
}

/// The calls of one life, as [`Outcome::calls`] has them.
const CALLS: [&str; 4] =
    ["of it: CreateSandbox", "of it: the first command", "of it: DeleteSandbox", "of it: Wait"];

fn title(outcome: &Outcome) -> String {
    let pace = if outcome.gaps { "With gaps" } else { "Back to back" };
    match outcome.mounts {
        0 => format!("{pace}, the host's own mounts"),
        mounts => format!("{pace}, {mounts} more mounts"),
    }
}

fn table(page: &mut String, contest: Contest, outcome: &Outcome) {
    let rival = contest.rival();
    let _ =
        writeln!(page, "| {}, ms | min | p10 | median | p90 | ratio to {} |", contest.name(), rival.name());
    let _ = writeln!(page, "|---|--:|--:|--:|--:|:--|");
    for subject in contest.subjects() {
        row(page, subject.name(), outcome.of(*subject), outcome.of(rival));
        if *subject == Subject::EbbtideOnce {
            for (call, samples) in CALLS.iter().zip(&outcome.calls) {
                row(page, call, samples, outcome.of(rival));
            }
        }
    }
    page.push('\n');
}

/// A row of a table, beside a rival's.
pub(crate) fn row(page: &mut String, name: &str, samples: &Samples, rival: &Samples) {
    let (Some(Summary { min, p10, median, p90, .. }), Some(ratio)) =
        (samples.summary(), samples.ratio_to(rival))
    else {
        return;
    };
    let _ = writeln!(
        page,
        "| {name} | {min:.2} | {p10:.2} | {median:.2} | {p90:.2} | {:.2} [{:.2} – {:.2}] |",
        ratio.of_medians, ratio.lower, ratio.upper
    );
}

/// The goals, each with what was measured, met or not.
fn goals(page: &mut String, outcomes: &[Outcome]) {
    if outcomes.is_empty() {
        return;
    }
    let _ = writeln!(page, "\n## Goals\n\n| goal | measured | |\n|---|---|---|");
    for outcome in outcomes.iter().filter(|outcome| outcome.mounts == 0) {
        let pace = if outcome.gaps { "with gaps" } else { "back to back" };
        let limits = [
            (
                "create → exec → gone",
                Subject::EbbtideOnce,
                "bwrap",
                Subject::Bwrap,
                if outcome.gaps { 1.3 } else { 1.0 },
            ),
            ("exec", Subject::EbbtideExec, "crun exec", Subject::CrunExec, 0.4),
        ];
        for (what, mine, name, rival, limit) in limits {
            let Some(ratio) = outcome.of(mine).ratio_to(outcome.of(rival)) else { continue };
            let verdict = if ratio.of_medians <= limit { "met" } else { "**not met**" };
            let _ = writeln!(
                page,
                "| {what}, {pace}: at most {limit} × {name} | {:.2} × [{:.2} – {:.2}] | {verdict} |",
                ratio.of_medians, ratio.lower, ratio.upper
            );
        }
    }
}

/// How fast output came, in the run with the fewest mounts.
fn output(page: &mut String, Throughput { sandbox, pipe }: &Throughput) {
    let _ = writeln!(page, "## Output of a command, {MEBIBYTES} MiB of zeros\n");
    let rows = [("**ebbtide: exec by `Sandbox`**", sandbox), ("a child process, by a pipe", pipe)];
    rates(page, MEBIBYTES, "a pipe", &rows);
}

/// How fast files were copied, in the run with the fewest mounts.
fn copied(page: &mut String, Copies { into, out, plain }: &Copies) {
    let _ = writeln!(page, "## A file of {} MiB\n", copies::MEBIBYTES);
    let rows = [
        ("**ebbtide: `ebb cp` into a sandbox**", into),
        ("**ebbtide: `ebb cp` out of it**", out),
        ("`cp` on the home's disk", plain),
    ];
    rates(page, copies::MEBIBYTES, "`cp`", &rows);
}

/// A table of how fast so much went, each beside the last.
pub(crate) fn rates(page: &mut String, mebibytes: usize, rival: &str, rows: &[(&str, &Samples)]) {
    let Some((_, last)) = rows.last() else { return };
    let _ = writeln!(page, "| MiB/s | best | median | time, ratio to {rival} |\n|---|--:|--:|:--|");
    for (name, samples) in rows {
        let (Some(times), Some(ratio)) = (samples.summary(), samples.ratio_to(last)) else { continue };
        let rate = |milliseconds: f64| mebibytes as f64 * 1e3 / milliseconds;
        let _ = writeln!(
            page,
            "| {name} | {:.0} | {:.0} | {:.2} [{:.2} – {:.2}] |",
            rate(times.min),
            rate(times.median),
            ratio.of_medians,
            ratio.lower,
            ratio.upper
        );
    }
    page.push('\n');
}

fn after(page: &mut String, aftermaths: &[Aftermath]) {
    if aftermaths.is_empty() {
        return;
    }
    let _ = writeln!(page, "## What is left after the run\n");
    for Aftermath { mounts, doctor, left, .. } in aftermaths {
        let doctor = if *doctor { "finds nothing wrong" } else { "**finds something wrong**" };
        let _ = writeln!(
            page,
            "- with {mounts} more mounts: `ebb doctor` after the last measurement {doctor}; after `ebb shutdown` a look at \
             the kernel that shares no code with it finds {} processes, cgroups, mounts, loop devices, directories or id \
             claims of this home or these containers",
            if left.is_empty() { "no".to_owned() } else { format!("**{}**", left.len()) },
        );
        for thing in left {
            let _ = writeln!(page, "  - {thing}");
        }
    }
    let _ = writeln!(page, "\nSee [the design](design.md) for why it costs what it costs.");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outcome(gaps: bool, mine: u64, rival: u64) -> Outcome {
        let mut outcome = Outcome::new(0, gaps);
        for (subject, milliseconds) in [(Subject::EbbtideOnce, mine), (Subject::Bwrap, rival)] {
            outcome.add_times(subject, &[Duration::from_millis(milliseconds)]);
        }
        outcome
    }

    #[test]
    fn a_goal_that_is_missed_is_called_missed() {
        let mut page = String::new();
        goals(&mut page, &[outcome(false, 6, 5), outcome(true, 6, 5)]);
        let verdicts: Vec<&str> = page.lines().filter(|line| line.contains("bwrap")).collect();
        assert!(verdicts[0].contains("1.20 ×") && verdicts[0].ends_with("| **not met** |"), "{page}");
        assert!(verdicts[1].contains("1.20 ×") && verdicts[1].ends_with("| met |"), "{page}");
    }

    #[test]
    fn what_is_left_is_listed() {
        let mut page = String::new();
        let left = vec!["cgroup /sys/fs/cgroup/x".to_owned()];
        let doctor_said = String::new();
        after(&mut page, &[Aftermath { mounts: 0, doctor: false, doctor_said, left, rates: None }]);
        assert!(page.contains("**finds something wrong**") && page.contains("  - cgroup /sys/fs/cgroup/x"));
    }
}

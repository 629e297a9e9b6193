//! Writes docs/vm.md: what passed under which kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::record::Run;
use super::scenario::SCENARIOS;
use crate::Error;

const HEAD: &str = "\
# Other kernels, and machines that end

The development machines have one kernel and a hybrid cgroup tree, and no test can start them anew or set their clocks.
`cargo xtask test --vm` does that elsewhere: in virtual machines under `qemu-system-x86_64` (software emulation, no
hardware support needed) with Debian's own kernels, systemd as process 1, and cgroup v2 only. It needs root, a Debian mirror
on the first run, and 40 minutes for each kernel; everything it makes is in `target/vm`. `--kernel 6.1` picks one kernel,
`--scenario power` one of the scenarios below, and `--as-built` runs them with what the last call has built. This page is its
output, with the last result of each, wherever that was; what the machines wrote in full is in `target/vm/results`.

- **conformance**: the kit of the Linux driver.
- **reboot**: `systemctl reboot` while sandboxes live that are owned by a process, by a lease, by nobody; orphans, kept
  ones, paused ones. The same machine looks at them after its next start, and at how long it took to go off.
- **power**: the emulator is killed (SIGKILL) while three callers make and stop sandboxes and, the first time, one more daemon
  stands still at each of ten named steps of a create and of a stop. The home is an ext4 on a disk of its own (`cache=writeback`). So all
  that the guest had only in its memory is lost, and all that it had handed to its disk is there: a cut of the power, to a disk that
  loses nothing of its own. What callers were told goes over a serial port to whoever kills the machine, and is
  compared after the next start; the answers of the last 5 seconds may be lost, with what they spoke of.
- **clock**: set to tomorrow, to yesterday, and right again, each time with the daemon that was there and with a new one.
- **sleep**: suspended to idle and to RAM; the clock of the machine wakes it.

See [the design](design.md) for what is promised, and [processes and signals](processes.md) for what is checked.
";

/// What is said of each scenario, by its kernel and its place among all.
type Sections = BTreeMap<(String, usize), String>;

/// Writes the page. What it says of scenarios that were not run here stays: another machine has seen that.
pub(crate) fn write(path: &Path, runs: &[Run]) -> Result<(), Error> {
    let before = std::fs::read_to_string(path).unwrap_or_default();
    std::fs::write(path, page(&before, runs)).map_err(Error::file("could not write", path))
}

fn page(before: &str, runs: &[Run]) -> String {
    let mut sections = sections_of(before);
    for run in runs {
        sections.extend(place(&run.scenario).map(|place| ((run.kernel.clone(), place), section(run))));
    }
    let mut page = String::from(HEAD);
    let sections: Vec<_> = sections.iter().collect();
    for sections in sections.chunk_by(|((a, _), _), ((b, _), _)| a == b) {
        let passed = |text: &str| text.lines().next().is_some_and(|title| title.ends_with(": passed"));
        let verdict = if sections.iter().all(|(_, text)| passed(text)) { "passed" } else { "FAILED" };
        // Writing to a string cannot fail.
        let _ = writeln!(page, "\n## Linux {}: {verdict}", sections[0].0.0);
        for (_, text) in sections {
            let _ = writeln!(page, "\n### {text}");
        }
        let missing =
            SCENARIOS.iter().enumerate().filter(|(place, _)| sections.iter().all(|(key, _)| key.1 != *place));
        let missing: Vec<&str> = missing.map(|(_, (name, ..))| *name).collect();
        if !missing.is_empty() {
            let _ = writeln!(page, "\nNot run: {}.", missing.join(", "));
        }
    }
    page
}

fn place(scenario: &str) -> Option<usize> {
    SCENARIOS.iter().position(|(name, ..)| *name == scenario)
}

/// Reads a page again.
fn sections_of(page: &str) -> Sections {
    let mut sections = Sections::new();
    for of_kernel in page.split("\n## Linux ").skip(1) {
        let Some((kernel, rest)) = of_kernel.split_once(": ") else { continue };
        let ran = rest.split("\nNot run: ").next().unwrap_or(rest);
        for text in ran.split("\n### ").skip(1) {
            let place = text.split_once(": ").and_then(|(scenario, _)| place(scenario));
            sections.extend(place.map(|place| ((kernel.to_owned(), place), text.trim_end().to_owned())));
        }
    }
    sections
}

fn section(run: &Run) -> String {
    let verdict = if run.passed() { "passed" } else { "FAILED" };
    let title = place(&run.scenario).map_or("", |place| SCENARIOS[place].1);
    let mut page = format!("{}: {verdict}\n\n{title}; source {}.\n\n", run.scenario, run.source);
    // Each start of a machine tells what it is again.
    let mut told = BTreeSet::new();
    for line in run.output.lines() {
        let fact = line.strip_prefix("fact ").or_else(|| line.strip_prefix("check "));
        if let Some(fact) = fact.filter(|fact| told.insert(*fact)) {
            let _ = writeln!(page, "- {fact}");
        }
    }
    for (builder, count) in passed(&run.output) {
        let _ = writeln!(page, "- {count} checks passed with the root builder `{builder}`");
    }
    for (word, what) in [
        ("step ", "steps at which a daemon stood still when the power was cut"),
        ("answered ", "creates were answered before a cut"),
        ("stopped ", "stops were answered before a cut"),
        ("known ", "sandboxes were known after a cut, all ended with a reason"),
    ] {
        // What is known after one cut is known after the next, too.
        let named: BTreeSet<&str> =
            run.output.lines().filter_map(|line| line.strip_prefix(word)?.split(' ').next()).collect();
        let count = named.len();
        if count > 0 {
            let _ = writeln!(page, "- {count} {what}");
        }
    }
    let _ = writeln!(page, "- {} seconds from power on to power off", run.took.as_secs());
    let results: Vec<&str> = run.output.lines().filter(|line| is_result(line)).collect();
    let faults = run.faults.iter().map(String::as_str);
    let lines: Vec<&str> = results.into_iter().chain(faults).collect();
    if !lines.is_empty() {
        let _ = writeln!(page, "\n```text\n{}\n```", lines.join("\n"));
    }
    page.trim_end().to_owned()
}

/// The checks that did not pass, the sum of the test runner, and what a scenario failed with.
fn is_result(line: &str) -> bool {
    (line.starts_with("test ") && !line.ends_with(" ... ok")) || line.contains(" panicked at ")
}

/// How many checks passed with each way of building roots, the first part of a check's name.
fn passed(output: &str) -> BTreeMap<&str, usize> {
    let names = output.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... ok"));
    let mut counts = BTreeMap::new();
    for (builder, _) in names.filter_map(|name| name.split_once("::")) {
        *counts.entry(builder).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_page_counts_what_passed_and_names_what_did_not() {
        let run = |scenario: &str, output: &str| Run {
            kernel: "6.1.0".into(),
            scenario: scenario.into(),
            source: "abc".into(),
            output: output.into(),
            faults: Vec::new(),
            took: Duration::from_secs(60),
        };
        let output = "fact cgroups cgroup2fs\nnoise\ntest a::one ... ok\ntest a::two ... ok\ntest b::two ... FAILED\n\
                      fact cgroups cgroup2fs\ncheck it holds\n";
        let fault = Run { faults: vec!["one is unknown".to_owned()], ..run("conformance", output) };
        let page = page("", &[run("reboot", "result 0\n"), fault]);
        assert!(page.contains("\n## Linux 6.1.0: FAILED\n\n### conformance: FAILED\n"));
        assert!(
            page.contains("- cgroups cgroup2fs\n- it holds\n- 2 checks passed with the root builder `a`\n")
        );
        assert!(page.contains("\ntest b::two ... FAILED\none is unknown\n") && !page.contains("noise"));
        assert!(page.contains("### reboot: passed\n"));
        assert!(page.ends_with("\nNot run: power, clock, sleep.\n"));
    }

    #[test]
    fn what_another_machine_has_seen_stays_on_the_page() {
        let run = |kernel: &str, scenario: &str, output: &str| Run {
            kernel: kernel.into(),
            scenario: scenario.into(),
            source: "abc".into(),
            output: output.into(),
            faults: Vec::new(),
            took: Duration::from_secs(60),
        };
        let there =
            [run("6.1.0", "reboot", "check a\nresult 1\n"), run("6.12.0", "clock", "check b\nresult 0\n")];
        let before = page("", &there);
        let again = run("6.1.0", "reboot", "check c\nresult 0\n");
        let [_, other] = there;
        assert_eq!(page(&before, std::slice::from_ref(&again)), page("", &[again, other]));
    }
}

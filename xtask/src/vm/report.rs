//! Writes docs/vm.md: what passed under which kernel.

use std::fmt::Write as _;
use std::path::Path;

use super::machine::Run;
use crate::Error;

const HEAD: &str = "\
# Other kernels

The development machines have one kernel and a hybrid cgroup tree. `cargo xtask test --vm` runs the conformance kit
of the Linux driver elsewhere: in virtual machines under `qemu-system-x86_64` (software emulation, no hardware
support needed) with Debian's own kernels, systemd as process 1, and cgroup v2 only. It needs root, a Debian mirror
on the first run, and some minutes for each kernel; everything it makes is in `target/vm`. `--kernel 6.1` picks one kernel.
This page is its output; what the machines wrote in full is in `target/vm/*.log`.

See [the design](design.md) for what the driver does, and [processes and signals](processes.md) for what is checked.
";

/// Writes the page.
pub(crate) fn write(path: &Path, runs: &[Run]) -> Result<(), Error> {
    std::fs::write(path, page(runs)).map_err(Error::file("could not write", path))
}

fn page(runs: &[Run]) -> String {
    let mut page = String::from(HEAD);
    for run in runs {
        let verdict = if run.passed() { "passed" } else { "FAILED" };
        // Writing to a string cannot fail.
        let _ = writeln!(page, "\n## Linux {}: {verdict}\n", run.kernel);
        for fact in run.output.lines().filter_map(|line| line.strip_prefix("fact ")) {
            let _ = writeln!(page, "- {fact}");
        }
        let _ = writeln!(page, "- {} seconds from power on to power off\n\n```text", run.took.as_secs());
        for line in run.output.lines().filter(|line| is_result(line)) {
            let _ = writeln!(page, "{line}");
        }
        page.push_str("```\n");
    }
    page
}

/// The lines of the kit that name a check, and the sum of the test runner.
fn is_result(line: &str) -> bool {
    ["ok  ", "skipped  ", "FAILED  ", "test result: "].iter().any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn run(output: &str) -> Run {
        Run { kernel: "6.1.0".into(), output: output.into(), took: Duration::from_secs(60) }
    }

    #[test]
    fn only_a_script_that_ended_well_has_passed() {
        assert!(run("ok       first\nresult 0\n").passed());
        assert!(!run("FAILED   first\nresult 101\n").passed());
        assert!(!run("ok       first\n").passed(), "the machine went off in the middle");
    }

    #[test]
    fn the_page_shows_facts_and_checks_and_no_noise() {
        let page = page(&[run("fact cgroups cgroup2fs\nnoise\nFAILED   second: why\nresult 101\n")]);
        assert!(page.contains("## Linux 6.1.0: FAILED"));
        assert!(page.contains("- cgroups cgroup2fs\n") && page.contains("\nFAILED   second: why\n"));
        assert!(!page.contains("noise"));
    }
}

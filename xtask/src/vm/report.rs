//! Writes docs/vm.md: what passed under which kernel.

use std::collections::BTreeMap;
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
        for (builder, count) in passed(&run.output) {
            let _ = writeln!(page, "- {count} checks passed with the root builder `{builder}`");
        }
        let _ = writeln!(page, "- {} seconds from power on to power off\n\n```text", run.took.as_secs());
        for line in run.output.lines().filter(|line| is_result(line)) {
            let _ = writeln!(page, "{line}");
        }
        page.push_str("```\n");
    }
    page
}

/// The checks that did not pass, and the sum of the test runner.
fn is_result(line: &str) -> bool {
    line.starts_with("test ") && !line.ends_with(" ... ok")
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

    fn run(output: &str) -> Run {
        Run { kernel: "6.1.0".into(), output: output.into(), took: Duration::from_secs(60) }
    }

    #[test]
    fn only_a_script_that_ended_well_has_passed() {
        assert!(run("test a::first ... ok\nresult 0\n").passed());
        assert!(!run("test a::first ... FAILED\nresult 101\n").passed());
        assert!(!run("test a::first ... ok\n").passed(), "the machine went off in the middle");
    }

    #[test]
    fn the_page_counts_what_passed_and_names_what_did_not() {
        let output =
            "fact cgroups cgroup2fs\nnoise\ntest a::one ... ok\ntest a::two ... ok\ntest b::two ... FAILED\n";
        let page = page(&[run(output)]);
        assert!(page.contains("## Linux 6.1.0: FAILED"));
        assert!(page.contains("- cgroups cgroup2fs\n- 2 checks passed with the root builder `a`\n"));
        assert!(page.contains("\ntest b::two ... FAILED\n") && !page.contains("noise"));
    }
}

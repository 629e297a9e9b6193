//! What came of each scenario under each kernel, kept from one call of this program to the next: a kernel takes long,
//! and a page is to hold all of them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Error, workspace};

/// A scenario, and what came of it under one kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// The kernel's version.
    pub(crate) kernel: String,
    /// The scenario's name.
    pub(crate) scenario: String,
    /// The state of the source, as git names it.
    pub(crate) source: String,
    /// Everything that its machines wrote.
    pub(crate) output: String,
    /// Why it failed, beside what the machines say themselves.
    pub(crate) faults: Vec<String>,
    /// From the first start to the last power off.
    pub(crate) took: Duration,
}

impl Run {
    /// Whether the machines came to their end, everything held inside, and so it did outside.
    pub(crate) fn passed(&self) -> bool {
        let results: Vec<&str> = self.output.lines().filter(|line| line.starts_with("result ")).collect();
        self.faults.is_empty() && !results.is_empty() && results.iter().all(|line| *line == "result 0")
    }

    /// Keeps it, in the place of an earlier one.
    pub(crate) fn keep(&self, directory: &Path) -> Result<(), Error> {
        let directory = directory.join("results");
        workspace::make_dir(&directory)?;
        let text = json!({
            "kernel": self.kernel,
            "scenario": self.scenario,
            "source": self.source,
            "output": self.output,
            "faults": self.faults,
            "took": self.took.as_secs(),
        });
        let path = directory.join(format!("{}.{}.json", self.kernel, self.scenario));
        fs::write(&path, text.to_string()).map_err(Error::file("could not write", &path))
    }

    /// All that are kept. One that cannot be read is none.
    pub(crate) fn all(directory: &Path) -> Result<Vec<Self>, Error> {
        let directory = directory.join("results");
        let entries = fs::read_dir(&directory).map_err(Error::file("could not read", &directory))?;
        let texts = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
        Ok(texts.filter_map(|text| Self::read(&serde_json::from_str(&text).ok()?)).collect())
    }

    fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        Some(Self {
            kernel: text("kernel")?,
            scenario: text("scenario")?,
            source: text("source")?,
            output: text("output")?,
            faults: value["faults"]
                .as_array()?
                .iter()
                .map(|fault| fault.as_str().map(str::to_owned))
                .collect::<Option<_>>()?,
            took: Duration::from_secs(value["took"].as_u64()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(output: &str) -> Run {
        Run {
            kernel: "6.1.0".into(),
            scenario: "clock".into(),
            source: "abc".into(),
            output: output.into(),
            faults: Vec::new(),
            took: Duration::from_secs(60),
        }
    }

    #[test]
    fn only_a_script_that_ended_well_has_passed() {
        assert!(run("test a::first ... ok\nresult 0\n").passed());
        assert!(!run("test a::first ... FAILED\nresult 101\n").passed());
        assert!(!run("result 0\nresult 101\n").passed(), "the second start failed");
        assert!(!run("test a::first ... ok\n").passed(), "the machine went off in the middle");
        let fault = Run { faults: vec!["one is unknown".to_owned()], ..run("result 0\n") };
        assert!(!fault.passed(), "seen from outside");
    }

    #[test]
    fn what_is_kept_is_read_again_and_the_last_one_holds() {
        let directory = tempfile::tempdir().unwrap();
        run("result 101\n").keep(directory.path()).unwrap();
        let last = Run { faults: vec!["one is unknown".to_owned()], ..run("result 0\n") };
        last.keep(directory.path()).unwrap();
        assert_eq!(Run::all(directory.path()).unwrap(), [last]);
    }
}

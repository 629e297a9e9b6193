//! What all runs so far have come to, by seed, in a file that the next run goes on with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::stretch::Stretch;

/// What came of a stretch of a schedule.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) steps: u64,
    pub(crate) sandboxes: u64,
    pub(crate) faults: BTreeMap<String, u64>,
    /// What was done beside them, and is no fault.
    pub(crate) deeds: BTreeMap<String, u64>,
    /// What was left or was in a state that it should not be in.
    pub(crate) leaks: Vec<String>,
    /// Sandboxes of living owners that came to harm.
    pub(crate) lost: Vec<String>,
    /// From an owner's death to the end of the last process, in milliseconds.
    pub(crate) releases: Vec<u64>,
    /// What was done, with the time. Of one stretch only.
    pub(crate) log: Vec<String>,
}

impl Outcome {
    /// How many faults there were.
    pub(crate) fn total(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Whether nothing was left and nobody was harmed.
    pub(crate) fn is_clean(&self) -> bool {
        self.leaks.is_empty() && self.lost.is_empty()
    }

    /// In a few words.
    pub(crate) fn line(&self) -> String {
        let mut releases = self.releases.clone();
        releases.sort_unstable();
        format!(
            "{} steps, {} sandboxes, {} faults, {} leaks, {} lost; from an owner's death to the last process: median {} ms, longest {} ms of {}",
            self.steps,
            self.sandboxes,
            self.total(),
            self.leaks.len(),
            self.lost.len(),
            releases.get(releases.len() / 2).copied().unwrap_or_default(),
            releases.last().copied().unwrap_or_default(),
            releases.len(),
        )
    }

    fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.sandboxes += other.sandboxes;
        for (mine, others) in [(&mut self.faults, &other.faults), (&mut self.deeds, &other.deeds)] {
            for (kind, count) in others {
                *mine.entry(kind.clone()).or_default() += count;
            }
        }
        self.leaks.extend(other.leaks.iter().cloned());
        self.lost.extend(other.lost.iter().cloned());
        self.releases.extend(&other.releases);
    }

    fn json(&self) -> Value {
        json!({"steps": self.steps, "sandboxes": self.sandboxes, "faults": self.faults, "deeds": self.deeds, "leaks": self.leaks,
               "lost": self.lost, "releases_ms": self.releases})
    }

    fn read(value: &Value) -> Self {
        let words = |name: &str| -> Vec<String> {
            let list = value[name].as_array().into_iter().flatten();
            list.filter_map(|word| Some(word.as_str()?.to_owned())).collect()
        };
        let counts = |name: &str| -> BTreeMap<String, u64> {
            let counts = value[name].as_object().into_iter().flatten();
            counts.filter_map(|(kind, count)| Some((kind.clone(), count.as_u64()?))).collect()
        };
        Self {
            steps: value["steps"].as_u64().unwrap_or_default(),
            sandboxes: value["sandboxes"].as_u64().unwrap_or_default(),
            faults: counts("faults"),
            deeds: counts("deeds"),
            leaks: words("leaks"),
            lost: words("lost"),
            releases: value["releases_ms"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_u64)
                .collect(),
            log: Vec::new(),
        }
    }
}

/// The file.
#[derive(Debug, Default)]
pub(crate) struct Record {
    path: Option<PathBuf>,
    seeds: BTreeMap<u64, Outcome>,
}

impl Record {
    /// Reads the one that the environment names, if it names one.
    pub(crate) fn open() -> Self {
        std::env::var_os("EBBTIDE_TORTURE_RECORD")
            .map_or_else(Self::default, |path| Self::at(Path::new(&path)))
    }

    fn at(path: &Path) -> Self {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "{}".to_owned(),
            Err(error) => panic!("the record {}: {error}", path.display()),
        };
        // What many hours have come to is not begun anew because of a slip.
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("the record {}: {error}; mend it or move it away", path.display())
        });
        let seeds = value["seeds"].as_object().into_iter().flatten();
        let seeds =
            seeds.filter_map(|(seed, value)| Some((seed.parse().ok()?, Outcome::read(value)))).collect();
        Self { path: Some(path.to_owned()), seeds }
    }

    /// The first step of a seed that has not been run.
    pub(crate) fn next_step(&self, seed: u64) -> u64 {
        self.seeds.get(&seed).map_or(0, |outcome| outcome.steps)
    }

    /// Adds what came of a stretch, and writes the file.
    pub(crate) fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.seeds.entry(seed).or_default().add(outcome);
        let Some(path) = &self.path else { return };
        let seeds: BTreeMap<String, Value> =
            self.seeds.iter().map(|(seed, outcome)| (seed.to_string(), outcome.json())).collect();
        let fresh = path.with_extension("new");
        let text = json!({"seeds": seeds, "total": self.total().json()}).to_string();
        std::fs::write(&fresh, text).expect("write the record");
        std::fs::rename(&fresh, path).expect("write the record");
    }

    /// What all seeds have come to.
    pub(crate) fn total(&self) -> Outcome {
        let mut total = Outcome::default();
        self.seeds.values().for_each(|outcome| total.add(outcome));
        total
    }
}

/// Keeps a schedule beside the record, if there is one; returns where.
pub(crate) fn save(stretch: &Stretch) -> Option<PathBuf> {
    let record = PathBuf::from(std::env::var_os("EBBTIDE_TORTURE_RECORD")?);
    let first = stretch.steps.first().copied().unwrap_or_default();
    let path = record.with_file_name(format!("seed-{}-step-{first}.schedule", stretch.seed));
    std::fs::write(&path, stretch.write()).expect("keep a schedule");
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(steps: u64) -> Outcome {
        let faults = BTreeMap::from([("owner killed (-9)".to_owned(), steps / 2)]);
        Outcome { steps, faults, releases: vec![1000], ..Outcome::default() }
    }

    #[test]
    fn a_run_that_was_interrupted_goes_on_with_the_first_stretch_that_is_not_on_record() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("record.json");
        let mut record = Record::at(&path);
        assert_eq!(record.next_step(7), 0);
        record.add(7, &outcome(1500));
        record.add(8, &outcome(1500));
        // The next stretch is run and cut off; what it had begun to write is not the record.
        drop(record);
        std::fs::write(path.with_extension("new"), "{\"seeds\": {\"7\"").expect("write half of it");
        let mut record = Record::at(&path);
        assert_eq!((record.next_step(7), record.next_step(8), record.next_step(9)), (1500, 1500, 0));
        record.add(7, &outcome(1500));
        let record = Record::at(&path);
        assert_eq!(record.next_step(7), 3000);
        assert_eq!(
            (record.total().steps, record.total().total(), record.total().releases.len()),
            (4500, 2250, 3)
        );
    }

    #[test]
    #[should_panic = "mend it or move it away"]
    fn a_record_that_cannot_be_read_is_not_begun_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("record.json");
        std::fs::write(&path, "{").expect("write half of it");
        Record::at(&path);
    }
}

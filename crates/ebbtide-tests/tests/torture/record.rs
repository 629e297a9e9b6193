//! What all runs so far have come to, by seed, in a file that the next run goes on with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

/// What came of a stretch of a schedule.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) steps: u64,
    pub(crate) sandboxes: u64,
    pub(crate) faults: BTreeMap<String, u64>,
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
        for (kind, count) in &other.faults {
            *self.faults.entry(kind.clone()).or_default() += count;
        }
        self.leaks.extend(other.leaks.iter().cloned());
        self.lost.extend(other.lost.iter().cloned());
        self.releases.extend(&other.releases);
    }

    fn json(&self) -> Value {
        json!({"steps": self.steps, "sandboxes": self.sandboxes, "faults": self.faults, "leaks": self.leaks,
               "lost": self.lost, "releases_ms": self.releases})
    }

    fn read(value: &Value) -> Self {
        let words = |name: &str| -> Vec<String> {
            let list = value[name].as_array().into_iter().flatten();
            list.filter_map(|word| Some(word.as_str()?.to_owned())).collect()
        };
        let faults = value["faults"].as_object().into_iter().flatten();
        Self {
            steps: value["steps"].as_u64().unwrap_or_default(),
            sandboxes: value["sandboxes"].as_u64().unwrap_or_default(),
            faults: faults.filter_map(|(kind, count)| Some((kind.clone(), count.as_u64()?))).collect(),
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
        let path = std::env::var_os("EBBTIDE_TORTURE_RECORD").map(PathBuf::from);
        let text = path.as_ref().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let seeds = value["seeds"].as_object().into_iter().flatten();
        let seeds =
            seeds.filter_map(|(seed, value)| Some((seed.parse().ok()?, Outcome::read(value)))).collect();
        Self { path, seeds }
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

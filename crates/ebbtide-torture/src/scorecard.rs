//! What came of it, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::case::CaseInfo;
use crate::host::{Found, Kind};
use crate::suite::Options;
use crate::target::Target;

/// The form of the scorecard; changes when its fields do.
const FORM: u32 = 1;
/// How many names of a kind are told.
const NAMES: usize = 5;

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing was left, nothing was harmed.
    Clean,
    /// Something was left.
    Leaked,
    /// A sandbox whose owner lived was harmed.
    Lost,
    /// The target refused or failed where it should not.
    Error,
    /// The target has nothing that the case could be done to.
    NotApplicable,
}

impl Verdict {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Leaked => "leaked",
            Self::Lost => "lost",
            Self::Error => "error",
            Self::NotApplicable => "not applicable",
        }
    }
}

/// What was left of one kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Leak {
    /// The kind.
    pub kind: Kind,
    /// How many.
    pub count: usize,
    /// Some of them.
    pub names: Vec<String>,
}

/// How long after the event the last resource was gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Release {
    /// Of how many sandboxes.
    pub sandboxes: usize,
    /// Of how many nothing was gone within the grace.
    pub never: usize,
    /// In seconds.
    pub median_seconds: Option<f64>,
    /// In seconds.
    pub longest_seconds: Option<f64>,
}

impl Release {
    pub(crate) fn of(gone: &[Duration], never: usize) -> Self {
        let mut seconds: Vec<f64> = gone.iter().map(|gone| rounded(*gone)).collect();
        seconds.sort_by(f64::total_cmp);
        Self {
            sandboxes: gone.len() + never,
            never,
            median_seconds: seconds.get(seconds.len() / 2).copied(),
            longest_seconds: seconds.last().copied(),
        }
    }

    fn text(&self) -> String {
        // No sandbox was to go where nothing could be done.
        match (self.median_seconds, self.longest_seconds, self.never) {
            (Some(median), Some(longest), 0) => format!("{median:.2} / {longest:.2} s"),
            (Some(median), _, _) => format!("{median:.2} s / never"),
            (None, _, 0) => "-".to_owned(),
            (None, _, _) => "never".to_owned(),
        }
    }
}

/// What came of a case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CaseReport {
    /// Its name.
    pub case: String,
    /// What happened in it.
    pub about: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was left after the grace.
    pub leaked: Vec<Leak>,
    /// Empty cgroup directories and files that were left, and that the target removed when it was next called.
    pub removed_by_next_call: usize,
    /// Sandboxes of living owners that were harmed.
    pub lost: Vec<String>,
    /// What the target refused or failed to do.
    pub errors: Vec<String>,
    /// How long after the event the last resource was gone.
    pub release: Release,
    /// How long the case took.
    pub took_seconds: f64,
}

impl CaseReport {
    #[expect(clippy::too_many_arguments, reason = "one per field; the verdict follows from them")]
    pub(crate) fn new(
        info: CaseInfo,
        not_applicable: bool,
        leaked: Vec<Leak>,
        removed_by_next_call: usize,
        lost: Vec<String>,
        errors: Vec<String>,
        release: Release,
        took: Duration,
    ) -> Self {
        let verdict = match () {
            () if not_applicable => Verdict::NotApplicable,
            () if !lost.is_empty() => Verdict::Lost,
            () if !leaked.is_empty() || release.never > 0 => Verdict::Leaked,
            () if !errors.is_empty() => Verdict::Error,
            () => Verdict::Clean,
        };
        Self {
            case: info.name.to_owned(),
            about: info.about.to_owned(),
            verdict,
            leaked,
            removed_by_next_call,
            lost,
            errors,
            release,
            took_seconds: rounded(took),
        }
    }

    /// What there is to say beside the verdict.
    fn remarks(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        words.extend(
            self.leaked.iter().map(|leak| format!("{} {}", leak.count, leak.kind.counted(leak.count))),
        );
        words.extend(self.lost.iter().take(1).map(|lost| format!("{} lost: {lost}", self.lost.len())));
        words.extend(self.errors.iter().take(1).map(|error| format!("{:.120}", error.replace('\n', " "))));
        if self.removed_by_next_call > 0 {
            words.push(format!("{} names until the next call", self.removed_by_next_call));
        }
        words.join("; ")
    }

    /// It as a line of a table.
    pub fn row(&self) -> [String; 4] {
        let release = match self.verdict {
            Verdict::NotApplicable => "-".to_owned(),
            _ => self.release.text(),
        };
        [self.case.clone(), self.verdict.as_str().to_owned(), release, self.remarks()]
    }
}

/// The host that it happened on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Host {
    /// The kernel.
    pub kernel: String,
    /// How many processors.
    pub cpus: usize,
    /// `v2`, or `hybrid`.
    pub cgroups: String,
}

/// What came of all cases.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scorecard {
    /// The form of this record.
    pub form: u32,
    /// The version of the suite.
    pub suite: String,
    /// The target.
    pub target: String,
    /// Its version, as it tells it.
    pub version: String,
    /// When.
    pub date: String,
    /// Where.
    pub host: Host,
    /// How long was waited after an event until everything was gone.
    pub grace_seconds: u64,
    /// How many owners something happened to in each case.
    pub owners: usize,
    /// What came of each case.
    pub cases: Vec<CaseReport>,
}

impl Scorecard {
    pub(crate) fn new(target: &Target, version: String, options: &Options) -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let unified = fs::metadata("/sys/fs/cgroup/cgroup.controllers").is_ok();
        Self {
            form: FORM,
            suite: env!("CARGO_PKG_VERSION").to_owned(),
            target: target.name().to_owned(),
            version,
            date: jiff::Zoned::now().date().to_string(),
            host: Host {
                kernel: release.trim().to_owned(),
                cpus: std::thread::available_parallelism().map_or(1, Into::into),
                cgroups: if unified { "v2" } else { "hybrid" }.to_owned(),
            },
            grace_seconds: options.grace.map_or(target.number("GRACE"), |grace| grace.as_secs()),
            owners: options.owners,
            cases: Vec::new(),
        }
    }

    /// How many cases ended so.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cases.iter().filter(|case| case.verdict == verdict).count()
    }

    /// Whether nothing was left, harmed or refused.
    pub fn is_clean(&self) -> bool {
        self.cases.iter().all(|case| matches!(case.verdict, Verdict::Clean | Verdict::NotApplicable))
    }

    /// The end of it in a line.
    pub fn summary(&self) -> String {
        let mut text = format!(
            "{} ({}): {} of {} cases clean",
            self.target,
            self.version,
            self.count(Verdict::Clean),
            self.cases.len() - self.count(Verdict::NotApplicable)
        );
        for verdict in [Verdict::Leaked, Verdict::Lost, Verdict::Error, Verdict::NotApplicable] {
            if self.count(verdict) > 0 {
                let _ = write!(text, ", {} {}", self.count(verdict), verdict.as_str());
            }
        }
        text
    }
}

/// What was left, by kind.
pub(crate) fn leaks(left: &[Found]) -> Vec<Leak> {
    let mut kinds: BTreeMap<Kind, Vec<&Found>> = BTreeMap::new();
    left.iter().for_each(|found| kinds.entry(found.kind).or_default().push(found));
    let leak = |(kind, found): (Kind, Vec<&Found>)| Leak {
        kind,
        count: found.len(),
        names: found.iter().take(NAMES).map(|found| found.name.clone()).collect(),
    };
    kinds.into_iter().map(leak).collect()
}

fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_goes_is_never_called_a_time() {
        let seconds = |all: &[u64]| all.iter().map(|s| Duration::from_secs(*s)).collect::<Vec<_>>();
        assert_eq!(Release::of(&seconds(&[3, 1, 2]), 0).text(), "2.00 / 3.00 s");
        assert_eq!(Release::of(&seconds(&[1]), 2).text(), "1.00 s / never");
        assert_eq!(Release::of(&[], 2).text(), "never");
        assert_eq!(Release::of(&[], 0).text(), "-");
    }

    #[test]
    fn a_sandbox_that_is_still_there_is_a_leak_whatever_else_is_found() {
        let info = CaseInfo { name: "x", about: "" };
        let report = |never, lost: &[&str], errors: &[&str]| {
            let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
            let release = Release::of(&[], never);
            CaseReport::new(info, false, Vec::new(), 0, own(lost), own(errors), release, Duration::ZERO)
                .verdict
        };
        assert_eq!(report(0, &[], &[]), Verdict::Clean);
        assert_eq!(report(1, &[], &["x"]), Verdict::Leaked);
        assert_eq!(report(1, &["x"], &[]), Verdict::Lost);
        assert_eq!(report(0, &[], &["x"]), Verdict::Error);
    }
}

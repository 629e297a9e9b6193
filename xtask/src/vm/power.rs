//! What callers were told before the power was cut, against what is known afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::machine::Line;

/// What was told this long before the cut is known afterwards. The ledger is on the disk a moment after an answer, and the
/// emulated machine is slow.
const DURABLE: Duration = Duration::from_secs(5);

/// What callers were told before a cut.
#[derive(Default)]
pub(crate) struct Told {
    /// Ids of sandboxes that were made, and how long before the cut that was told.
    made: BTreeMap<String, Duration>,
    /// Those of which a stop was answered.
    stopped: BTreeMap<String, Duration>,
}

impl Told {
    /// Reads what a machine wrote before its power was cut.
    pub(crate) fn read(lines: &[Line], cut: Instant) -> Self {
        let told = |word: &str| {
            let of = lines.iter().filter_map(|line| Some((line.text.strip_prefix(word)?, line.came)));
            of.map(|(id, came)| (id.to_owned(), cut.saturating_duration_since(came))).collect()
        };
        Self { made: told("answered "), stopped: told("stopped ") }
    }

    /// Compares with what the next machine's homes know; says what should be otherwise.
    pub(crate) fn compare(&self, after: &[Line]) -> Vec<String> {
        let known: Vec<Vec<&str>> = after
            .iter()
            .filter_map(|line| Some(line.text.strip_prefix("known ")?.split(' ').collect()))
            .collect();
        let find = |id: &str| known.iter().find(|words| words.first() == Some(&id));
        let mut faults = Vec::new();
        let ids: BTreeSet<&String> = self.made.keys().chain(self.stopped.keys()).collect();
        for id in ids {
            let durable = |told: &BTreeMap<String, Duration>| told.get(id).is_some_and(|ago| *ago > DURABLE);
            match find(id) {
                None if durable(&self.made) => faults.push(format!("{id} was answered and is unknown")),
                Some(words) if durable(&self.stopped) && words.last() != Some(&"stopped") => {
                    faults.push(format!("{id} was stopped, and is now {}", words.join(" ")));
                }
                _ => {}
            }
        }
        faults
    }
}

/// How long creates and stops go on before the next cut: 5 to 25 seconds.
pub(crate) fn moment() -> Duration {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    Duration::from_millis(5000 + u64::from(nanos) / 1000 % 20_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<Line> {
        texts.iter().map(|text| Line { text: (*text).to_owned(), came: Instant::now() }).collect()
    }

    #[test]
    fn what_was_told_long_before_the_cut_must_be_known_after_it() {
        let before = lines(&["answered a", "answered b", "noise", "answered c", "stopped b", "stopped c"]);
        let after = lines(&["known b completed stopped", "known c failed host_restarted"]);
        let long_ago = Told::read(&before, Instant::now() + DURABLE * 2);
        let faults = long_ago.compare(&after);
        assert_eq!(
            faults,
            ["a was answered and is unknown", "c was stopped, and is now c failed host_restarted"]
        );
        assert!(Told::read(&before, Instant::now()).compare(&after).is_empty(), "just then");
    }
}

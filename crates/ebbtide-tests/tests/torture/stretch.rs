//! The steps of a run, as somebody names them: in a variable, or in a file that a shrunk run has left.

use std::fmt::Write as _;

use super::schedule;

/// Some steps of a seed's schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The seed.
    pub(crate) seed: u64,
    /// Their numbers, upwards.
    pub(crate) steps: Vec<u64>,
}

impl Stretch {
    /// As the environment names them, if it does.
    pub(crate) fn named(seed: u64) -> Option<Self> {
        if let Ok(path) = std::env::var("EBBTIDE_TORTURE_SCHEDULE") {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            return Some(Self::read(&text).unwrap_or_else(|| panic!("{path} is not a schedule")));
        }
        let text = std::env::var("EBBTIDE_TORTURE_STEPS").ok()?;
        let steps =
            numbers(&text).unwrap_or_else(|| panic!("EBBTIDE_TORTURE_STEPS={text} is not A..B[,C..D]"));
        Some(Self { seed, steps })
    }

    /// What [`Stretch::write`] has written.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let seed = lines.next()?.strip_prefix("seed ")?.parse().ok()?;
        let steps = lines.map(|line| line.split_whitespace().next()?.parse().ok()).collect::<Option<_>>()?;
        Some(Self { seed, steps })
    }

    /// The seed, and a line for each step: its number, and for a reader what it does.
    pub(crate) fn write(&self) -> String {
        let mut text = format!("seed {}\n", self.seed);
        for number in &self.steps {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", schedule::step(self.seed, *number));
        }
        text
    }

    /// `A..B,C`, as short as it can be said.
    pub(crate) fn words(&self) -> String {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for number in &self.steps {
            match runs.last_mut() {
                Some((_, end)) if *end == *number => *end += 1,
                _ => runs.push((*number, number + 1)),
            }
        }
        runs.iter().map(|(from, to)| format!("{from}..{to}")).collect::<Vec<_>>().join(",")
    }
}

/// `A..B,C..D`, or single numbers.
fn numbers(text: &str) -> Option<Vec<u64>> {
    let mut steps = Vec::new();
    for part in text.split(',') {
        match part.split_once("..") {
            Some((from, to)) => steps.extend(from.parse::<u64>().ok()?..to.parse().ok()?),
            None => steps.push(part.parse().ok()?),
        }
    }
    Some(steps)
}

#[test]
fn a_schedule_that_was_written_is_read_as_it_was() {
    let stretch = Stretch { seed: 7, steps: vec![3, 4, 5, 9, 1600] };
    assert_eq!(Stretch::read(&stretch.write()), Some(stretch.clone()));
    assert_eq!(stretch.words(), "3..6,9..10,1600..1601");
    assert_eq!(numbers(&stretch.words()), Some(stretch.steps));
    assert_eq!(numbers("3..x"), None);
    assert_eq!(Stretch::read("7\n3 x"), None);
}

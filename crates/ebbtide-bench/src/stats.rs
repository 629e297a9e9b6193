//! What is told of a row of measurements.
//!
//! Medians on a shared machine move by a third from one minute to the next. So contenders take turns, round by
//! round, and a ratio is also computed within each round: its quartiles say how much of a difference is weather.

use std::time::Duration;

/// The measurements of one contender, round by round, in milliseconds.
#[derive(Debug, Default, Clone)]
pub(crate) struct Samples {
    rounds: Vec<Vec<f64>>,
}

/// What is told of one contender.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    /// How many measurements.
    pub(crate) count: usize,
    /// The smallest, in milliseconds.
    pub(crate) min: f64,
    /// A tenth is below it.
    pub(crate) p10: f64,
    /// Half are below it.
    pub(crate) median: f64,
    /// A tenth is above it.
    pub(crate) p90: f64,
}

/// How one contender compares with another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    /// Of the medians over all rounds.
    pub(crate) of_medians: f64,
    /// A quarter of the rounds have a smaller ratio of their own medians.
    pub(crate) lower: f64,
    /// A quarter of the rounds have a larger one.
    pub(crate) upper: f64,
}

impl Samples {
    /// Adds the measurements of a round.
    pub(crate) fn add_round(&mut self, round: &[Duration]) {
        self.rounds.push(round.iter().map(|taken| taken.as_secs_f64() * 1e3).collect());
    }

    /// Sums up; `None` without measurements.
    pub(crate) fn summary(&self) -> Option<Summary> {
        let all = sorted(self.rounds.iter().flatten().copied());
        Some(Summary {
            count: all.len(),
            min: *all.first()?,
            p10: quantile(&all, 0.1)?,
            median: quantile(&all, 0.5)?,
            p90: quantile(&all, 0.9)?,
        })
    }

    /// Compares with another contender of the same rounds; `None` without measurements.
    pub(crate) fn ratio_to(&self, other: &Self) -> Option<Ratio> {
        let median = |round: &Vec<f64>| quantile(&sorted(round.iter().copied()), 0.5);
        let per_round = sorted(
            self.rounds
                .iter()
                .zip(&other.rounds)
                .filter_map(|(mine, theirs)| Some(median(mine)? / median(theirs)?)),
        );
        Some(Ratio {
            of_medians: self.summary()?.median / other.summary()?.median,
            lower: quantile(&per_round, 0.25)?,
            upper: quantile(&per_round, 0.75)?,
        })
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The value below which a share of the sorted values lies, between the two nearest.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let position = share * (sorted.len().checked_sub(1)? as f64);
    let (below, above) = (sorted.get(position.floor() as usize)?, sorted.get(position.ceil() as usize)?);
    Some(below + (above - below) * position.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rounds: &[&[u64]]) -> Samples {
        let mut samples = Samples::default();
        for round in rounds {
            samples.add_round(&round.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>());
        }
        samples
    }

    #[test]
    fn quantiles_lie_between_the_nearest_values() {
        let summary = samples(&[&[4, 2], &[1, 3, 5]]).summary().unwrap();
        assert_eq!((summary.count, summary.min, summary.median), (5, 1.0, 3.0));
        assert!((summary.p10 - 1.4).abs() < 1e-9 && (summary.p90 - 4.6).abs() < 1e-9);
    }

    #[test]
    fn a_ratio_is_taken_within_rounds() {
        // The machine was three times slower in the second round; the contenders differ by two all the same.
        let (slow, fast) = (samples(&[&[2, 2], &[6, 6]]), samples(&[&[1, 1], &[3, 3]]));
        let ratio = slow.ratio_to(&fast).unwrap();
        assert_eq!((ratio.of_medians, ratio.lower, ratio.upper), (2.0, 2.0, 2.0));
    }

    #[test]
    fn nothing_measured_is_no_number() {
        assert_eq!(Samples::default().summary(), None);
        assert_eq!(samples(&[&[1]]).ratio_to(&Samples::default()), None);
    }
}

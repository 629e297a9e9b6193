//! Finds a small part of what has failed that still fails: delta debugging, after Zeller and Hildebrandt.

/// The smallest part of `whole` that was found, in its order, for which `fails` holds. It has been asked of that very part,
/// so what is returned has failed at least once. `None` when `fails` gives up (its time is over): nothing more is asked.
///
/// Where failing is a matter of luck, a part that did not fail this time may be kept although it could go; never the
/// other way round.
pub(crate) fn shrink<T: Clone>(whole: &[T], mut fails: impl FnMut(&[T]) -> Option<bool>) -> Vec<T> {
    let mut smallest = whole.to_vec();
    let mut pieces = 2;
    while smallest.len() > 1 {
        let length = smallest.len().div_ceil(pieces);
        // What comes last is what has failed, more often than not: first without what came early.
        let without = |at: usize| {
            let rest = smallest.iter().enumerate().filter(|(index, _)| index / length != at);
            rest.map(|(_, item)| item.clone()).collect::<Vec<T>>()
        };
        let mut found = None;
        for at in 0..smallest.len().div_ceil(length) {
            let part = without(at);
            match fails(&part) {
                None => return smallest,
                Some(true) => {
                    found = Some(part);
                    break;
                }
                Some(false) => {}
            }
        }
        match found {
            Some(part) => {
                smallest = part;
                pieces = pieces.saturating_sub(1).max(2);
            }
            None if length == 1 => break,
            None => pieces = (pieces * 2).min(smallest.len()),
        }
    }
    smallest
}

#[cfg(test)]
mod tests {
    use super::super::schedule::{self, Action, ROUND};
    use super::shrink;

    /// A fault that needs three steps in this order, and any number of others between them.
    fn fails(seed: u64, steps: &[u64]) -> bool {
        let mut wanted = [Action::Create, Action::KillDaemon, Action::Purge].iter().peekable();
        for number in steps {
            wanted.next_if(|action| **action == schedule::step(seed, *number).action);
        }
        wanted.peek().is_none()
    }

    #[test]
    fn a_stretch_that_fails_is_shrunk_to_the_steps_that_it_takes() {
        for seed in 1..20 {
            let whole: Vec<u64> = (0..ROUND).collect();
            assert!(fails(seed, &whole), "seed {seed} does not have them in this order");
            let mut asked = 0;
            let small = shrink(&whole, |part| {
                asked += 1;
                Some(fails(seed, part))
            });
            assert_eq!(small.len(), 3, "seed {seed}: {small:?}");
            assert!(fails(seed, &small) && small.is_sorted());
            assert!(asked < 200, "{asked} runs are too many");
        }
    }

    #[test]
    fn what_it_has_when_its_time_is_over_still_fails() {
        let whole: Vec<u64> = (0..ROUND).collect();
        let mut left = 5;
        let small = shrink(&whole, |part| {
            left -= 1;
            (left > 0).then(|| fails(1, part))
        });
        assert!(fails(1, &small) && small.len() < whole.len(), "{}", small.len());
    }

    #[test]
    fn what_fails_by_luck_is_never_shrunk_to_what_has_not_failed() {
        let mut random = fastrand::Rng::with_seed(5);
        let whole: Vec<u64> = (0..ROUND).collect();
        let mut failed = vec![whole.clone()];
        let small = shrink(&whole, |part| {
            let fails = fails(1, part) && random.u8(..3) > 0;
            if fails {
                failed.push(part.to_vec());
            }
            Some(fails)
        });
        assert!(failed.contains(&small) && fails(1, &small));
    }

    #[test]
    fn a_single_step_is_as_small_as_it_gets() {
        assert_eq!(shrink(&[4], |_| Some(true)), [4]);
        assert_eq!(shrink::<u64>(&[], |_| Some(true)), [0; 0]);
    }
}

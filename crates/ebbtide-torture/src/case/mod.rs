//! What is done to a target, one family per file.

mod churn;
mod helpers;
mod owners;
mod payloads;
mod scene;
mod stops;

pub(crate) use scene::Scene;

/// A payload that does what a sandbox usually does: nothing that is noticed, until it is asked to end.
pub(crate) const IDLE: &str = "trap 'exit 0' TERM; sleep 1000 & wait";

/// One case.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// Its name and what it is.
    pub(crate) info: CaseInfo,
    /// What the sandboxes run.
    pub(crate) payload: &'static str,
    /// Whether their owners have a child of their own.
    pub(crate) forks: bool,
    /// Whether there is one more owner, which nothing happens to, and whose sandbox must come to no harm.
    pub(crate) bystander: bool,
    /// What happens.
    pub(crate) act: fn(&mut Scene<'_>),
}

/// A case, as it is shown.
#[derive(Debug, Clone, Copy)]
pub struct CaseInfo {
    /// Its name.
    pub name: &'static str,
    /// What happens in it.
    pub about: &'static str,
}

impl Case {
    /// One in which sandboxes idle beside a bystander.
    const fn plain(name: &'static str, about: &'static str, act: fn(&mut Scene<'_>)) -> Self {
        Self { info: CaseInfo { name, about }, payload: IDLE, forks: false, bystander: true, act }
    }
}

/// All of them, in the order in which they are run.
pub(crate) fn all() -> impl Iterator<Item = Case> {
    [owners::CASES, helpers::CASES, stops::CASES, payloads::CASES, churn::CASES]
        .into_iter()
        .flatten()
        .copied()
}

/// The cases there are.
pub fn cases() -> impl Iterator<Item = CaseInfo> {
    all().map(|case| case.info)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = super::cases().map(|case| case.name).collect();
        assert_eq!(names.len(), super::cases().count());
    }
}

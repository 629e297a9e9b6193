//! Who takes part, and in which order.

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    EbbtideOnce,
    Plain,
    Unshare,
    Bwrap,
    CrunRun,
    RuncRun,
    EbbtideExec,
    EbbtideHandleExec,
    CrunExec,
    RuncExec,
    PublicClientExec,
    PackageExec,
    PackageAwaited,
    PythonPlain,
    PythonCrunExec,
    EbbtideStop,
    CrunDelete,
    RuncDelete,
}

impl Subject {
    pub(crate) const ALL: [Self; 18] = [
        Self::EbbtideOnce,
        Self::Plain,
        Self::Unshare,
        Self::Bwrap,
        Self::CrunRun,
        Self::RuncRun,
        Self::EbbtideExec,
        Self::EbbtideHandleExec,
        Self::CrunExec,
        Self::RuncExec,
        Self::PublicClientExec,
        Self::PackageExec,
        Self::PackageAwaited,
        Self::PythonPlain,
        Self::PythonCrunExec,
        Self::EbbtideStop,
        Self::CrunDelete,
        Self::RuncDelete,
    ];

    /// As the report names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::EbbtideOnce => "**ebbtide: create → exec → gone**",
            Self::Plain => "fork + exec of the program, no isolation",
            Self::Unshare => "`unshare`, all namespaces",
            Self::Bwrap => "`bwrap --unshare-all`",
            Self::CrunRun => "`crun run`",
            Self::RuncRun => "`runc run`",
            Self::EbbtideExec => "**ebbtide: exec**",
            Self::EbbtideHandleExec => "ebbtide: exec by `Sandbox`",
            Self::CrunExec => "`crun exec`",
            Self::RuncExec => "`runc exec`",
            Self::PublicClientExec => "**ebbtide: exec by the public Python client**",
            Self::PackageExec => "**ebbtide: exec by the package `ebbtide`**",
            Self::PackageAwaited => "ebbtide: exec by the package `ebbtide`, awaited",
            Self::PythonPlain => "Python's `subprocess.run` of the program, no isolation",
            Self::PythonCrunExec => "Python's `subprocess.run` of `crun exec`",
            Self::EbbtideStop => "**ebbtide: stop**",
            Self::CrunDelete => "`crun delete --force`",
            Self::RuncDelete => "`runc delete --force`",
        }
    }
}

/// What is compared in one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contest {
    /// A sandbox for one command.
    Once,
    /// A command in a sandbox that runs.
    Exec,
    /// The same from a Python program.
    Python,
    /// The end of a sandbox.
    Stop,
}

impl Contest {
    pub(crate) const ALL: [Self; 4] = [Self::Once, Self::Exec, Self::Python, Self::Stop];

    /// As the report names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Once => "one command",
            Self::Exec => "exec in what runs",
            Self::Python => "exec in what runs, from Python",
            Self::Stop => "stop",
        }
    }

    /// Who takes part.
    pub(crate) fn subjects(self) -> &'static [Subject] {
        match self {
            Self::Once => &[
                Subject::EbbtideOnce,
                Subject::Plain,
                Subject::Unshare,
                Subject::Bwrap,
                Subject::CrunRun,
                Subject::RuncRun,
            ],
            Self::Exec => &[
                Subject::EbbtideExec,
                Subject::EbbtideHandleExec,
                Subject::PublicClientExec,
                Subject::Plain,
                Subject::CrunExec,
                Subject::RuncExec,
            ],
            Self::Python => &[
                Subject::PackageExec,
                Subject::PackageAwaited,
                Subject::PublicClientExec,
                Subject::EbbtideHandleExec,
                Subject::PythonPlain,
                Subject::PythonCrunExec,
            ],
            Self::Stop => &[Subject::EbbtideStop, Subject::CrunDelete, Subject::RuncDelete],
        }
    }

    /// Whom the others are compared with.
    pub(crate) fn rival(self) -> Subject {
        match self {
            Self::Once => Subject::Bwrap,
            Self::Exec => Subject::CrunExec,
            Self::Python => Subject::PythonCrunExec,
            Self::Stop => Subject::CrunDelete,
        }
    }
}

/// Everybody who takes part in one of these.
pub(crate) fn of(contests: &[Contest]) -> Vec<Subject> {
    let takes_part = |subject: &Subject| contests.iter().any(|contest| contest.subjects().contains(subject));
    Subject::ALL.into_iter().filter(takes_part).collect()
}

/// The order of a round: everybody once, and nobody always after the same rival.
pub(crate) fn order(subjects: &[Subject], round: usize) -> impl Iterator<Item = Subject> {
    let count = subjects.len();
    // A step that has no divisor in common with the number of places reaches all of them.
    let steps: Vec<usize> = (1..count.max(2)).filter(|step| coprime(*step, count)).collect();
    let step = steps.get(round % steps.len().max(1)).copied().unwrap_or(1);
    (0..count).map(move |position| subjects[(position * step + round) % count])
}

fn coprime(a: usize, b: usize) -> bool {
    if b == 0 { a == 1 } else { coprime(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_each_round_everybody_has_a_turn_and_nobody_always_follows_the_same_rival() {
        for subjects in [Subject::ALL.to_vec(), of(&[Contest::Exec]), of(&[Contest::Stop])] {
            let mut before_the_first = Vec::new();
            for round in 0..10 {
                let order: Vec<Subject> = order(&subjects, round).collect();
                assert!(subjects.iter().all(|subject| order.contains(subject)), "{order:?}");
                assert_eq!(order.len(), subjects.len());
                let place = order.iter().position(|subject| *subject == subjects[0]).unwrap();
                before_the_first.extend(place.checked_sub(1).map(|place| order[place] as usize));
            }
            before_the_first.sort_unstable();
            before_the_first.dedup();
            assert!(before_the_first.len() > 1, "{before_the_first:?}");
        }
    }
}

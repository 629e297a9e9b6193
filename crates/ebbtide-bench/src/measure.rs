//! The contest: everybody in turn.
//!
//! Back to back, each contender runs a block of measurements in its turn, so that what it leaves for later (a
//! namespace that the kernel takes apart, a pool that fills itself) is paid for by its own next run and not by its
//! rival's. With gaps, the machine is idle before each single measurement, as it is for a person who types a command.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ebbtide::Sandbox;
use tokio::time::sleep;

use crate::copies::{self, Copies};
use crate::daemon::{Daemon, Life};
use crate::helper::Helper;
use crate::mounts::ExtraMounts;
use crate::output::{self, Throughput};
use crate::peers::{self, Oci};
use crate::stats::Samples;
use crate::subject::{self, Contest, Subject};
use crate::{Error, leftovers, python};

/// What to measure with.
#[derive(Debug)]
pub(crate) struct Tools {
    /// The `ebb` to measure.
    pub(crate) ebb: PathBuf,
    /// A Python that has the public client.
    pub(crate) python: PathBuf,
    /// Where Ebbtide's own package for Python lies.
    pub(crate) packages: PathBuf,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    /// Turns of each contender, back to back.
    pub(crate) rounds: usize,
    /// Measurements in a turn.
    pub(crate) block: usize,
    /// Measurements of each contender with gaps.
    pub(crate) gapped: usize,
}

/// Nothing runs for this long before a measurement with gaps.
pub(crate) const GAP: Duration = Duration::from_millis(300);
/// Between two turns.
const PAUSE: Duration = Duration::from_millis(100);

/// All measurements under one condition.
pub(crate) struct Outcome {
    /// How many mounts were added to the host's.
    pub(crate) mounts: usize,
    /// Whether the machine was left idle before each measurement.
    pub(crate) gaps: bool,
    samples: Vec<Samples>,
    /// The calls that [`Subject::EbbtideOnce`] consists of, each by itself.
    pub(crate) calls: [Samples; 4],
}

impl Outcome {
    pub(crate) fn new(mounts: usize, gaps: bool) -> Self {
        let samples = vec![Samples::default(); Subject::ALL.len()];
        Self { mounts, gaps, samples, calls: Default::default() }
    }

    /// The measurements of a contender.
    pub(crate) fn of(&self, subject: Subject) -> &Samples {
        &self.samples[subject as usize]
    }

    /// Adds what one turn of a contender took, each time.
    pub(crate) fn add_times(&mut self, subject: Subject, times: &[Duration]) {
        self.samples[subject as usize].add_round(times);
    }

    fn add(&mut self, subject: Subject, round: &[Turn]) {
        self.add_times(subject, &round.iter().map(|turn| turn.taken).collect::<Vec<_>>());
        let lives: Vec<&Life> = round.iter().filter_map(|turn| turn.life.as_ref()).collect();
        if lives.is_empty() {
            return;
        }
        let parts: [fn(&Life) -> Duration; 4] = [
            |life| life.created,
            |life| life.answered - life.created,
            |life| life.deleted - life.answered,
            |life| life.gone - life.deleted,
        ];
        for (samples, part) in self.calls.iter_mut().zip(parts) {
            samples.add_round(&lives.iter().map(|life| part(life)).collect::<Vec<_>>());
        }
    }
}

/// What came of the daemon's and the containers' end under one number of mounts.
pub(crate) struct Aftermath {
    /// How many mounts were added to the host's.
    pub(crate) mounts: usize,
    /// Whether `ebb doctor --json` found nothing wrong after the last measurement.
    pub(crate) doctor: bool,
    /// What doctor said.
    pub(crate) doctor_said: String,
    /// What is left after `ebb shutdown`.
    pub(crate) left: Vec<String>,
    /// How fast output came, and how fast files were copied; only with everything else.
    pub(crate) rates: Option<(Throughput, Copies)>,
}

struct Turn {
    taken: Duration,
    life: Option<Life>,
}

struct Contenders<'a> {
    daemon: &'a Daemon,
    helper: &'a mut Helper,
    python: &'a mut Helper,
    crun: &'a Oci,
    runc: &'a Oci,
    idle: String,
    handle: Sandbox,
}

/// Measures everything with `count` more mounts than the host has.
pub(crate) async fn under(
    count: usize,
    tools: &Tools,
    contests: &[Contest],
    amount: Amount,
) -> Result<(Vec<Outcome>, Aftermath), Error> {
    // On a disk, as a home usually is; /tmp may be memory.
    let place = tempfile::Builder::new()
        .prefix("ebbtide-bench-")
        .tempdir_in("/var/tmp")
        .map_err(Error::io("making a directory in /var/tmp"))?;
    let mounts = ExtraMounts::make(count)?;
    let mark = place.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut helper = Helper::start()?;
    let crun = Oci::prepare("crun", place.path(), &mark)?;
    let runc = Oci::prepare("runc", place.path(), &mark)?;
    let state_dir = place.path().join("home");
    let daemon = Daemon::start(&tools.ebb, &state_dir).await?;
    let mut python = python::start(&tools.python, &tools.packages, &daemon)?;

    let measured = async {
        for oci in [&crun, &runc] {
            helper.time(&oci.start("idle"))?;
        }
        let idle = daemon.idle().await?;
        let handle = daemon.handle(&idle).await?;
        let (helper, python, crun, runc) = (&mut helper, &mut python, &crun, &runc);
        let contenders = Contenders { daemon: &daemon, helper, python, crun, runc, idle, handle };
        measure(count, contenders, contests, amount, place.path()).await
    };
    let measured = tokio::select! {
        measured = measured => measured,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
    };
    // With it goes the sandbox that it has made for itself.
    drop(python);

    let doctor = daemon.doctor();
    crun.clean(&mut helper, &["idle", "stop", "once"]);
    runc.clean(&mut helper, &["idle", "stop", "once"]);
    let ended = daemon.shutdown();
    drop((helper, mounts));
    let left = leftovers::find(&[&mark, &daemon.home_id], &state_dir);
    let (outcomes, rates) = measured?;
    ended?;
    let (doctor, doctor_said) = doctor?;
    Ok((outcomes, Aftermath { mounts: count, doctor, doctor_said, left, rates }))
}

async fn measure(
    mounts: usize,
    mut contenders: Contenders<'_>,
    contests: &[Contest],
    amount: Amount,
    place: &Path,
) -> Result<(Vec<Outcome>, Option<(Throughput, Copies)>), Error> {
    let subjects = subject::of(contests);
    for subject in &subjects {
        contenders.turn(*subject, Duration::ZERO).await?;
    }
    let mut outcomes = Vec::new();
    for gaps in [false, true] {
        let (rounds, block) = if gaps { (amount.gapped, 1) } else { (amount.rounds, amount.block) };
        let mut outcome = Outcome::new(mounts, gaps);
        for round in 0..rounds {
            eprint!(
                "\r{mounts} mounts, {}: {}/{rounds} ",
                if gaps { "gaps" } else { "back to back" },
                round + 1
            );
            for subject in subject::order(&subjects, round) {
                let gap = if gaps { GAP } else { Duration::ZERO };
                sleep(gap.max(PAUSE)).await;
                let mut turns = Vec::with_capacity(block);
                for _ in 0..block {
                    turns.push(contenders.turn(subject, gap).await?);
                }
                outcome.add(subject, &turns);
            }
        }
        eprintln!();
        outcomes.push(outcome);
    }
    let Contenders { daemon, idle, .. } = contenders;
    let rates = if contests == Contest::ALL {
        Some((output::measure(daemon, &idle).await?, copies::measure(daemon, &idle, place)?))
    } else {
        None
    };
    daemon.stop(&idle).await?;
    Ok((outcomes, rates))
}

impl Contenders<'_> {
    /// One measurement. A stop needs something to stop; `gap` lies between the two.
    async fn turn(&mut self, subject: Subject, gap: Duration) -> Result<Turn, Error> {
        let helper = &mut *self.helper;
        let taken = match subject {
            Subject::EbbtideOnce => {
                let life = self.daemon.once().await?;
                return Ok(Turn { taken: life.gone, life: Some(life) });
            }
            Subject::Plain => helper.time(&peers::plain()),
            Subject::Unshare => helper.time(&peers::unshare()),
            Subject::Bwrap => helper.time(&peers::bwrap()),
            Subject::CrunRun => helper.time(&self.crun.run()),
            Subject::RuncRun => helper.time(&self.runc.run()),
            Subject::EbbtideExec => self.daemon.exec(&self.idle).await,
            Subject::EbbtideHandleExec => self.daemon.exec_by_handle(&self.handle).await,
            Subject::CrunExec => helper.time(&self.crun.exec("idle")),
            Subject::RuncExec => helper.time(&self.runc.exec("idle")),
            Subject::PublicClientExec => self.python.time(&python::by_client(&peers::plain())),
            Subject::PackageExec => self.python.time(&python::by_package(&peers::plain())),
            Subject::PackageAwaited => self.python.time(&python::by_package_awaited(&peers::plain())),
            Subject::PythonPlain => self.python.time(&python::by_subprocess(&peers::plain())),
            Subject::PythonCrunExec => self.python.time(&python::by_subprocess(&self.crun.exec("idle"))),
            Subject::EbbtideStop => {
                let id = self.daemon.idle().await?;
                sleep(gap).await;
                self.daemon.stop(&id).await
            }
            Subject::CrunDelete => stop(helper, self.crun, gap).await,
            Subject::RuncDelete => stop(helper, self.runc, gap).await,
        }?;
        Ok(Turn { taken, life: None })
    }
}

async fn stop(helper: &mut Helper, oci: &Oci, gap: Duration) -> Result<Duration, Error> {
    helper.time(&oci.start("stop"))?;
    sleep(gap).await;
    helper.time(&oci.delete("stop"))
}

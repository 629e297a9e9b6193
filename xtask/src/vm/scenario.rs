//! What machines are started for: the kit, and what can happen to a machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::guest;
use super::machine::{Line, Machine, Parts};
use super::power;
use super::record::Run;
use crate::{Error, workspace};

/// How often the power is cut at a random moment, after it was cut at each step.
const CUTS: usize = 3;

/// By when a machine that sleeps must have written something: its alarm comes after a minute.
const ALARM: Duration = Duration::from_secs(150);

/// What a scenario's machines wrote, and what is wrong beside what they say themselves.
type Seen = (Vec<Line>, Vec<String>);

/// A scenario: its name, in words, and what is done.
type Scenario = (&'static str, &'static str, fn(&Parts<'_>) -> Result<Seen, Error>);

/// All of them.
pub(crate) const SCENARIOS: [Scenario; 5] = [
    ("conformance", "the conformance kit", |parts| {
        Ok((Machine::start(parts, "conformance", None)?.finish()?, Vec::new()))
    }),
    ("reboot", "the machine is started anew while sandboxes of every kind live", |parts| {
        once(parts, "reboot")
    }),
    ("power", "the emulator is killed in the middle of creates and stops", power_cuts),
    ("clock", "the clock is set a day forward and a day back", |parts| once(parts, "clock")),
    ("sleep", "the machine sleeps", sleep),
];

/// Runs one of them under one kernel, with what was built from `source`.
pub(crate) fn run(parts: &Parts<'_>, (name, _, scenario): &Scenario, source: &str) -> Result<Run, Error> {
    let started = Instant::now();
    let (lines, faults) = scenario(parts)?;
    Ok(Run {
        kernel: parts.kernel.version.clone(),
        scenario: (*name).to_owned(),
        source: source.to_owned(),
        output: lines.into_iter().map(|line| line.text + "\n").collect(),
        faults,
        took: started.elapsed(),
    })
}

/// One start, with an empty disk that is kept when the machine starts itself anew.
fn once(parts: &Parts<'_>, name: &str) -> Result<Seen, Error> {
    let state = fresh_state(parts.directory)?;
    Ok((Machine::start(parts, name, Some(&state))?.finish()?, Vec::new()))
}

/// Each start looks at what the cut before has left.
fn power_cuts(parts: &Parts<'_>) -> Result<Seen, Error> {
    let state = fresh_state(parts.directory)?;
    let mut lines = Vec::new();
    let mut faults = Vec::new();
    let mut told = power::Told::default();
    for round in 0..=CUTS {
        let mut machine =
            Machine::start(parts, if round == 0 { "power,steps" } else { "power,churn" }, Some(&state))?;
        let began = machine.until("churning")? && machine.watch(power::moment())?;
        let (seen, cut) = machine.cut()?;
        faults.extend(told.compare(&seen));
        told = power::Told::read(&seen, cut);
        lines.extend(seen);
        if !began {
            faults.push("the machine ended before its power was cut".to_owned());
            return Ok((lines, faults));
        }
    }
    let seen = Machine::start(parts, "power,nothing", Some(&state))?.finish()?;
    faults.extend(told.compare(&seen));
    lines.extend(seen);
    Ok((lines, faults))
}

/// Both ways to sleep. A machine whose alarm does not wake it is woken; not each emulator can do that in each way.
fn sleep(parts: &Parts<'_>) -> Result<Seen, Error> {
    let mut all = Vec::new();
    let mut woke = 0;
    for state in ["freeze", "mem"] {
        let disk = fresh_state(parts.directory)?;
        let mut machine = Machine::start(parts, &format!("sleep,{state}"), Some(&disk))?;
        if !machine.until("asleep")? || machine.next(ALARM) || machine.wake().is_ok() && machine.next(ALARM) {
            woke += 1;
            // It does not go off by itself: with a sleep the emulated one forgets where it is told to.
            machine.until("result ")?;
            all.extend(machine.cut()?.0);
        } else {
            all.extend(machine.cut()?.0);
            let text = format!("fact {state}: it slept, and neither its alarm nor `system_wakeup` woke it");
            all.push(Line { text, came: Instant::now() });
        }
    }
    let faults = if woke == 0 { vec!["no machine woke up".to_owned()] } else { Vec::new() };
    Ok((all, faults))
}

fn fresh_state(directory: &Path) -> Result<PathBuf, Error> {
    let empty = directory.join("empty");
    workspace::make_empty_dir(&empty)?;
    let state = directory.join("state.img");
    if state.exists() {
        fs::remove_file(&state).map_err(Error::file("could not remove", &state))?;
    }
    guest::make_disk(&empty, &state, "8G")?;
    Ok(state)
}

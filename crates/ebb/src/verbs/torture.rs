//! `ebb torture`: the conformance suite for clean-up, on Ebbtide itself or on another system.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use ebbtide_torture::{Options, Scorecard, Target, TortureError, cases, run, without_empty_cgroup2};

use crate::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::signals::Signals;
use crate::table;

/// Look whether anything outlives its owner, here or in another system
///
/// Kills, stops and ends the owners and helpers of sandboxes, lets sandboxes misbehave, and looks at the host for what is
/// left. TARGET is ebbtide, bwrap, crun, podman, protocol (the server at EBBTIDE_URL), or a file of shell functions.
/// Everything is made in directories of its own and removed, also what the target leaves. Needs root.
///
/// Exits 0 if nothing was left, harmed or refused; 1 if something was; 2 if the target cannot be used here.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb torture ebbtide
  ebb torture bwrap --case owner-killed --json
  ebb torture ./my-system.sh --grace 30
  ebb torture --cases")]
pub(crate) struct Torture {
    /// What to torture.
    #[arg(required_unless_present_any = ["cases", "show_functions"])]
    target: Option<String>,
    /// Run only this case; repeated, these.
    #[arg(long = "case", value_name = "NAME")]
    only: Vec<String>,
    /// How long to wait after an event until everything is gone; by default what suits the target.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    grace: Option<u64>,
    /// To how many owners at once each case happens.
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    owners: u16,
    /// How many sandboxes the case churn makes.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    churn: u16,
    /// Show the cases instead.
    #[arg(long)]
    cases: bool,
    /// Show instead what functions the file of a target has.
    #[arg(long)]
    show_functions: bool,
}

impl Torture {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        if self.show_functions {
            context.print(Target::functions())?;
            return Ok(0);
        }
        let Some(name) = self.target.as_deref().filter(|_| !self.cases) else {
            let rows = cases().map(|case| vec![case.name.to_owned(), case.about.to_owned()]);
            context.print(&table::render(&["CASE", "WHAT HAPPENS"], rows))?;
            return Ok(0);
        };
        let ebb = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("ebb"));
        let target = Target::named(name, &ebb)?;
        without_empty_cgroup2(&target).map_err(|error| Failure::io("run unshare", error))?;
        let mut signals = Signals::install()?;
        let interrupted = Arc::new(AtomicBool::new(false));
        let options = Options {
            cases: self.only,
            grace: self.grace.map(Duration::from_secs),
            owners: self.owners.into(),
            churn: self.churn.into(),
            interrupted: Arc::clone(&interrupted),
        };
        let json = context.json;
        let suite = move || {
            run(&target, &options, |case| {
                let [name, verdict, release, remarks] = case.row();
                // The table comes at the end; minutes lie before it.
                if !json {
                    eprintln!("{name}: {verdict}, {release} {remarks}");
                }
            })
        };
        let mut suite = tokio::task::spawn_blocking(suite);
        let scorecard = tokio::select! {
            done = &mut suite => done,
            signal = signals.next() => {
                interrupted.store(true, Ordering::Relaxed);
                // A second signal leaves the cleaning to the owners, which end with their input.
                tokio::select! {
                    _ = &mut suite => {}
                    _ = signals.next() => {}
                }
                return Err(Failure::Interrupted { signal });
            }
        };
        let scorecard =
            scorecard.map_err(|error| Failure::io("run the suite", std::io::Error::other(error)))??;
        if context.json {
            context.print_json(&scorecard)?;
        } else {
            context.print(&text(&scorecard))?;
        }
        Ok(if scorecard.is_clean() { 0 } else { exit::PARTLY })
    }
}

fn text(scorecard: &Scorecard) -> String {
    let rows = scorecard.cases.iter().map(|case| case.row().to_vec());
    let table = table::render(&["CASE", "VERDICT", "GONE AFTER (MEDIAN / LONGEST)", ""], rows);
    format!("{table}\n\n{}", scorecard.summary())
}

/// The exit code of a target that cannot be tortured.
pub(crate) fn exit_code(error: &TortureError) -> u8 {
    match error {
        TortureError::NeedsRoot | TortureError::Io { .. } => exit::EBBTIDE,
        _ => exit::USAGE,
    }
}

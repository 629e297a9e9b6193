//! `ebb doctor`: what the kernel holds of this home against what the ledger says, and what the host lacks.
//!
//! It needs no daemon and starts none, so that it also works when nothing else does.

mod fix;

use std::io;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use ebbtide::{Error, Home, HomeLocation};
use ebbtide_control::ledger::{self, Repaired};
use ebbtide_linux::audit::{self, AuditReport, AuditScope, Found, Kind, Lack, LiveView, Missing};
use serde::Serialize;
use tokio::time::sleep;

use crate::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::table;
use fix::Done;

/// A fault counts when it is seen this often in a row. Whatever is just being made or taken apart is not.
const LOOKS: usize = 4;
/// Between two looks. Together they are longer than any step of a create or a stop takes.
const PAUSE: Duration = Duration::from_millis(250);

/// Look for what is left behind, and for what this host lacks
///
/// Walks the kernel without the ledger, then compares both. Exits 1 if something is left behind or missing; with --fix, if
/// something is so afterwards. What belongs to a sandbox that lives is never touched.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb doctor
  ebb doctor --fix
  ebb doctor --json")]
pub(crate) struct Doctor {
    /// Take away what is left behind, and say what became of each thing.
    #[arg(long)]
    fix: bool,
}

/// The stable shape of `ebb doctor --json`.
#[derive(Serialize)]
struct DoctorView<'a> {
    /// Whether nothing is left behind and nothing is missing.
    clean: bool,
    /// The home; `null` if there is none yet.
    home: Option<&'a str>,
    state_dir: &'a Path,
    live: &'a LiveView,
    leaks: Vec<LeakView<'a>>,
    missing: &'a [Missing],
    /// The damaged ledger that was set aside, and how many records could be read of it.
    ledger: Option<LedgerView<'a>>,
    /// What was done about what was left behind.
    fixed: &'a [Done],
    expected: &'a [Found],
    lacks: &'a [Lack],
}

#[derive(Serialize)]
struct LedgerView<'a> {
    set_aside: &'a Path,
    records: usize,
}

#[derive(Serialize)]
struct LeakView<'a> {
    #[serde(flatten)]
    found: &'a Found,
    /// A command that takes it away.
    remedy: String,
}

impl Doctor {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        context.refuse_elsewhere("doctor")?;
        let lacks = audit::lacks();
        let location = HomeLocation::from_env().map_err(Error::from)?;
        let home = location.find().map_err(Error::from)?;
        let repaired = match &home {
            Some(home) if self.fix => fix::ledger(home).await?,
            _ => None,
        };
        let (mut live, mut report) = match &home {
            Some(home) => examine(home).await?,
            None => Default::default(),
        };
        let mut fixed = Vec::new();
        if let (true, Some(home)) = (self.fix, &home) {
            fixed = fix::fix(context, &location, home, &report).await?;
            if !fixed.is_empty() || !report.is_clean() {
                (live, report) = examine(home).await?;
            }
        }
        if context.json {
            let leaks = report.leaks.iter().map(|found| LeakView { found, remedy: remedy(found) }).collect();
            context.print_json(&DoctorView {
                clean: report.is_clean(),
                home: home.as_ref().map(Home::id),
                state_dir: location.state_dir(),
                live: &live,
                leaks,
                missing: &report.missing,
                ledger: repaired
                    .as_ref()
                    .map(|repaired| LedgerView { set_aside: &repaired.aside, records: repaired.records }),
                fixed: &fixed,
                expected: &report.expected,
                lacks: &lacks,
            })?;
        } else {
            if let Some(Repaired { aside, records }) = &repaired {
                context.print(&format!("the ledger was damaged and is now {}", aside.display()))?;
                context.print(&format!("the new one has the {records} records that could be read of it"))?;
            }
            for Done { kind, name, outcome, detail } in &fixed {
                let why = detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
                context.print(&format!(
                    "{}: {} {}{why}",
                    outcome.as_str(),
                    kind.as_str(),
                    name.escape_debug()
                ))?;
            }
            context.print(text(location.state_dir(), home.as_ref(), &report, &lacks).trim_end())?;
        }
        Ok(if report.is_clean() { 0 } else { exit::PARTLY })
    }
}

/// Looks until nothing is wrong, or the same is wrong again and again.
async fn examine(home: &Home) -> Result<(LiveView, AuditReport), Failure> {
    let scope = AuditScope {
        home_id: home.id().to_owned(),
        state_dir: home.state_dir().to_owned(),
        run_dir: home.run_dir().to_owned(),
    };
    let failed = |step: &str, error: String| Failure::io(step, io::Error::other(error));
    let mut earlier: Option<AuditReport> = None;
    for look in 1.. {
        let walk = audit::walk(&scope).map_err(|error| failed("walk the kernel", error.to_string()))?;
        // After the walk: whatever the walk saw was in the ledger before it was made.
        let records = ledger::read_only(&home.ledger())
            .map_err(|error| failed("compare with the ledger", error.to_string()))?;
        let report = audit::compare(&walk, &records);
        let report = match &earlier {
            Some(earlier) => report.confirmed_by(earlier),
            None => report,
        };
        if report.is_clean() || look == LOOKS {
            return Ok((walk.live, report));
        }
        earlier = Some(report);
        sleep(PAUSE).await;
    }
    Ok(Default::default())
}

fn text(state_dir: &Path, home: Option<&Home>, report: &AuditReport, lacks: &[Lack]) -> String {
    let mut text = String::new();
    let mut line = |said: &str| {
        text.push_str(said);
        text.push('\n');
    };
    match home {
        Some(home) => line(&format!("home {} in {}", home.id(), state_dir.display())),
        None => line(&format!("no home in {}", state_dir.display())),
    }
    let count = |found: &[Found], kind| found.iter().filter(|found| found.kind == kind).count();
    let rows = Kind::ALL.map(|kind| {
        let numbers = [count(&report.expected, kind), count(&report.leaks, kind)];
        vec![kind.as_str().to_owned(), numbers[0].to_string(), numbers[1].to_string()]
    });
    line(&table::render(&["KIND", "IN USE", "LEFT BEHIND"], rows));
    for leak in &report.leaks {
        line(&format!("\nleft behind: {} {}", leak.kind.as_str(), leak.name.escape_debug()));
        if !leak.detail.is_empty() {
            line(&format!("  {}", leak.detail.escape_debug()));
        }
        line(&format!("  try: {}", remedy(leak)));
    }
    for missing in &report.missing {
        line(&format!("\nmissing: the {} of sandbox {}", missing.kind.as_str(), missing.sandbox));
        line("  try: ebb list  (the daemon sets the record right)");
    }
    for lack in lacks {
        line(&format!("\nthis host lacks {}", lack.what));
        line(&format!("  try: {}", lack.help));
    }
    if report.is_clean() {
        line("\nnothing is left behind, nothing is missing");
    }
    text
}

/// A command that takes a leak away. A daemon does so by itself for whatever it still knows.
fn remedy(found: &Found) -> String {
    let name = &found.name;
    let first = || name.split([' ', '/']).next().unwrap_or_default();
    match (found.kind, found.pid) {
        (Kind::Process, _) => format!("kill -KILL {}", first()),
        (Kind::Cgroup, _) => format!("rmdir {name}"),
        (Kind::Mount | Kind::NetworkNamespace, Some(pid)) => {
            let point = name.split(" in mnt:").next().unwrap_or_default();
            format!("nsenter --mount=/proc/{pid}/ns/mnt umount {point}")
        }
        (Kind::Mount | Kind::NetworkNamespace, None) => "ebb shutdown".to_owned(),
        (Kind::Descriptor, _) => format!("kill -TERM {}", first()),
        (Kind::LoopDevice, _) => format!("losetup --detach {name}"),
        (Kind::Quota, Some(pid)) => {
            let pool = found.detail.split("/root").nth(1).unwrap_or_default();
            format!("nsenter --mount=/proc/{pid}/ns/mnt btrfs subvolume delete {pool}/{name}")
        }
        (Kind::Quota, None) => "ebb shutdown".to_owned(),
        (Kind::Directory, _) => format!("rm -r {name}"),
        (Kind::Socket | Kind::Log | Kind::IdClaim, _) => format!("rm {name}"),
    }
}

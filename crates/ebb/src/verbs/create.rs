//! `ebb create`: a sandbox that stays until it is stopped, its lifetime is over, or its owner ends.

use clap::Args;
use jiff::SignedDuration;

use crate::context::Context;
use crate::disposable::Disposable;
use crate::failure::Failure;
use crate::signals::Signals;
use crate::spec::SpecArgs;
use crate::starting;
use crate::view::{SandboxView, short};
use ebbtide::owner;

/// Make a sandbox and print its id
///
/// It lives on when this program has ended, until it is stopped or its lifetime is over.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb create --lifetime 600 --tag demo
  ebb create --owner $$ -- python3 -m http.server
  ebb create --image python:3.11
  ebb create --owner $$ --keep on_failure --keep-for 600 -- make test
  ebb create --idle-timeout 300 --on-idle pause")]
pub(crate) struct Create {
    #[command(flatten)]
    pub(super) spec: SpecArgs,
    /// End the sandbox some time after this process has ended, unless somebody adopts it.
    #[arg(long, conflicts_with = "detach", value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub(super) owner: Option<u32>,
    /// Do not wait until the sandbox runs.
    #[arg(long)]
    pub(super) no_wait: bool,
    /// The main command and its arguments; the sandbox ends with it. Without one it idles, whatever its image says.
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

impl Create {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut signals = Signals::install()?;
        if self.command.first().is_some_and(String::is_empty) {
            return Err(Failure::EmptyCommand);
        }
        let daemon = context.daemon()?;
        let owner = match self.owner {
            Some(_) if !daemon.is_local() => return Err(Failure::OwnerElsewhere),
            Some(pid) => Some(owner(pid).map_err(|source| Failure::NoOwner { pid, source })?),
            None => None,
        };
        let spec = self.spec.spec(&self.command, owner)?;
        let made = Disposable::make(context, &daemon, spec, &mut signals).await?;
        let started = async {
            match self.no_wait {
                true => {
                    context.call_on(&daemon, &made.client, async |client| client.get(&made.id).await).await
                }
                false => starting::wait(context, &daemon, &made).await,
            }
        };
        let started = tokio::select! {
            started = started => Ok(started),
            signal = signals.next() => Err(Failure::Interrupted { signal }),
        };
        let sandbox = match started {
            Ok(started) => started?,
            // Nobody has learned its id yet.
            Err(interrupted) => {
                made.remove(context, &daemon, &mut signals).await;
                return Err(interrupted);
            }
        };
        let view = SandboxView::from(sandbox);
        if context.json {
            context.print_json(&view)?;
        } else {
            context.print(&view.id)?;
            let lifetime = short(SignedDuration::from_secs(view.lifetime_seconds.into()));
            match view.owner_pid {
                Some(pid) => eprintln!("ends with process {pid}, or after {lifetime}"),
                None => eprintln!("ends after {lifetime}, or with: ebb stop {}", view.id),
            }
        }
        Ok(0)
    }
}

//! `ebb adopt`: takes over a sandbox that nobody stands for.

use clap::Args;
use ebbtide::{Adopter, Target, owner};

use crate::context::Context;
use crate::failure::Failure;
use crate::view::DescriptionView;

/// Take over a sandbox that nobody stands for
///
/// It ends some time after its new owner has ended, unless that one is adopted in turn. Of two who try, one wins; the
/// other is told who has it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb adopt 01k3q
  ebb adopt 01k3q --owner 4711
  ebb adopt 01k3q --detach
  ebb list --orphaned")]
pub(crate) struct Adopt {
    /// The sandbox: its id, or the beginning of it.
    id: String,
    /// The process that owns it from now on; the one that called `ebb` otherwise.
    #[arg(long, value_name = "PID", conflicts_with = "detach",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    owner: Option<u32>,
    /// Nobody owns it from now on: its lifetime ends it.
    #[arg(long)]
    detach: bool,
}

impl Adopt {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let daemon = context.daemon()?;
        let adopter = self.adopter(&daemon)?;
        let (client, id) = context.resolve(&daemon, &self.id).await?;
        let adopt = async |client: &ebbtide::Client| client.adopt(&id, adopter).await;
        let described = context.call_on(&daemon, &client, adopt).await?;
        if context.json {
            context.print_json(&DescriptionView::from(described))?;
        } else {
            context.print(&ebbtide::why(&described))?;
        }
        Ok(0)
    }

    fn adopter(&self, daemon: &Target) -> Result<Adopter, Failure> {
        if self.detach {
            return Ok(Adopter::Nobody);
        }
        if !daemon.is_local() {
            return Err(Failure::OwnerElsewhere);
        }
        let caller =
            rustix::process::getppid().and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
        let pid = self.owner.or(caller).unwrap_or(1);
        owner(pid).map(Adopter::Process).map_err(|source| Failure::NoOwner { pid, source })
    }
}

//! `ebb why`: who owns a sandbox, what keeps it alive, when and why it will end or has.

use clap::Args;

use crate::context::Context;
use crate::failure::Failure;
use crate::view::DescriptionView;

/// Say who owns a sandbox, what keeps it alive, when and why it will end or has
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb why 01k3q
  ebb why 01k3q --json")]
pub(crate) struct Why {
    /// The sandbox: its id, or the beginning of it.
    id: String,
}

impl Why {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let daemon = context.daemon()?;
        let (client, id) = context.resolve(&daemon, &self.id).await?;
        let described = context.call_on(&daemon, &client, async |client| client.describe(&id).await).await?;
        if context.json {
            context.print_json(&DescriptionView::from(described))?;
        } else {
            context.print(&ebbtide::why(&described))?;
        }
        Ok(0)
    }
}

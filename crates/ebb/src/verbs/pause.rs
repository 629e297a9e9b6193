//! `ebb pause` and `ebb resume`: freezing what runs in a sandbox, and going on with it.

use clap::Args;
use ebbtide::{Client, Description, Error};

use crate::context::Context;
use crate::failure::Failure;
use crate::view::DescriptionView;

/// Freeze what runs in a sandbox
///
/// Its memory and its files stay, its deadlines go on. Nothing can be run in it until it is resumed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb pause 01k3q
  ebb resume 01k3q")]
pub(crate) struct Pause {
    /// The sandbox: its id, or the beginning of it.
    id: String,
}

/// Go on with what was frozen
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ebb resume 01k3q")]
pub(crate) struct Resume {
    /// The sandbox: its id, or the beginning of it.
    id: String,
}

impl Pause {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        change(context, &self.id, async |client, id| client.pause(id).await).await
    }
}

impl Resume {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        change(context, &self.id, async |client, id| client.resume(id).await).await
    }
}

async fn change(
    context: &Context,
    id: &str,
    change: impl AsyncFn(&Client, &str) -> Result<Description, Error>,
) -> Result<u8, Failure> {
    let daemon = context.daemon()?;
    let (client, id) = context.resolve(&daemon, id).await?;
    let described = context.call_on(&daemon, &client, async |client| change(client, &id).await).await?;
    let state = described.sandbox.state;
    if context.json {
        context.print_json(&DescriptionView::from(described))?;
    } else {
        context.print(&format!("{id} {state}"))?;
    }
    Ok(0)
}

//! `ebb get`: everything that is known of one sandbox.

use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::view::DescriptionView;

/// Show one sandbox
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ebb get 01k --json")]
pub(crate) struct Get {
    /// The sandbox: its id, or the beginning of it.
    id: String,
}

/// The stable shape of `ebb get --json`.
#[derive(Serialize)]
struct GetView {
    #[serde(flatten)]
    described: DescriptionView,
    /// The digest of the image's manifest; `null` for the host's own programs.
    image_digest: Option<String>,
}

impl Get {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let daemon = context.daemon()?;
        let (client, id) = context.resolve(&daemon, &self.id).await?;
        let described = DescriptionView::from(client.describe(&id).await?);
        let image_digest = client.sandbox_image(&id).await?.digest;
        if context.json {
            context.print_json(&GetView { described, image_digest })?;
            return Ok(0);
        }
        let view = &described.sandbox;
        let shown = [
            ("id", Some(view.id.clone())),
            ("state", Some(view.state.clone())),
            ("reason", view.reason.clone()),
            ("exit code", view.exit_code.map(|code| code.to_string())),
            ("image", Some(view.image.clone())),
            ("digest", image_digest),
            ("command", Some(view.command.join(" ")).filter(|command| !command.is_empty())),
            ("workdir", view.workdir.clone()),
            ("tags", Some(view.tags.join(", ")).filter(|tags| !tags.is_empty())),
            ("owner", Some(described.ownership_in_words())),
            ("until", described.until().map(str::to_owned)),
            ("cpu", view.cpu.clone()),
            ("memory", view.memory.clone()),
            ("created", view.created_at.clone()),
            ("started", view.started_at.clone()),
            ("expires", view.expires_at.clone().filter(|_| !view.is_terminal())),
            ("ended", view.ended_at.clone()),
        ];
        let lines: Vec<String> = shown
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| format!("{name:<10} {}", value.escape_debug())))
            .collect();
        context.print(&lines.join("\n"))?;
        Ok(0)
    }
}

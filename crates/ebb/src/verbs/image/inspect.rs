//! `ebb image inspect`: everything that is known of one image.

use clap::Args;
use ebbtide_image::ImageName;

use super::view::{ImageView, size};
use crate::context::Context;
use crate::failure::Failure;

/// Show one image
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb image inspect python:3.11
  ebb image inspect python:3.11 --json")]
pub(super) struct Inspect {
    /// The image.
    name: ImageName,
}

impl Inspect {
    /// Does it.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let view = ImageView::from(super::find(&super::store(context)?, &self.name)?);
        if context.json {
            context.print_json(&view)?;
            return Ok(0);
        }
        let words = |words: &[String]| Some(words.join(" ")).filter(|words| !words.is_empty());
        let one = |name, value: Option<String>| value.map(|value| (name, value)).into_iter().collect();
        let many = |name, values: Vec<String>| values.into_iter().map(|value| (name, value)).collect();
        let config = &view.config;
        let layers = view.layers.iter().map(|layer| format!("{}  {}", layer.digest, size(layer.bytes)));
        let labels = config.labels.iter().map(|(key, value)| format!("{key}={value}"));
        let shown: [Vec<(&str, String)>; 17] = [
            many("name", view.names.clone()),
            one("image", Some(view.digest.clone())),
            one("platform", Some(view.platform.clone())),
            one("origin", Some(view.origin.to_owned())),
            one("private", view.private.then(|| "only for those whom its registry gives it".to_owned())),
            one("size", Some(size(view.bytes))),
            one("made", view.created_at.clone()),
            one("used", view.last_used_at.clone()),
            one("entrypoint", words(&config.entrypoint)),
            one("command", words(&config.cmd)),
            many("env", config.env.clone()),
            one("workdir", config.working_dir.clone()),
            one("user", config.user.clone()),
            one("stop", config.stop_signal.clone()),
            one("ports", words(&config.exposed_ports)),
            many("label", labels.collect()),
            many("layer", layers.collect()),
        ];
        let line = |(name, value): (&str, String)| format!("{name:<10} {}", value.escape_debug());
        let lines: Vec<String> = shown.into_iter().flatten().map(line).collect();
        context.print(&lines.join("\n"))?;
        Ok(0)
    }
}

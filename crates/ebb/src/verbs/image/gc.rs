//! `ebb image gc`: gives the space of images back that nobody needs.

use clap::Args;
use ebbtide_image::Collect;
use ebbtide_model::{Invalid, Quantity};
use serde::Serialize;

use super::view::{ImageView, size};
use crate::context::Context;
use crate::failure::Failure;

/// Remove what no name leads to, and images that can be pulled again
///
/// Images without a name, what belongs to no image, and past `max_bytes` of `ebbtide.toml` images that were pulled. Nothing
/// that something runs on is ever removed, nor an image that was loaded from a file, which may be the only copy: take its
/// names away for that.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb image gc --dry-run --all
  ebb image gc --max-bytes 20Gi")]
pub(super) struct Gc {
    /// Also every image that was pulled and that nothing runs on.
    #[arg(long, conflicts_with = "max_bytes")]
    all: bool,
    /// Also images that were pulled, those first that were not used for longest, until what is kept is not more than this.
    #[arg(long, value_name = "QUANTITY", value_parser = bytes)]
    max_bytes: Option<u64>,
    /// Only show what would go.
    #[arg(long)]
    dry_run: bool,
}

/// The stable shape of `ebb image gc --json`.
#[derive(Serialize)]
struct GcView {
    dry_run: bool,
    images: Vec<ImageView>,
    /// Bytes that were freed, or would be.
    bytes: u64,
}

impl Gc {
    /// Does it.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let (_, config, store) = super::open(context)?;
        let max_bytes = self.max_bytes.or(config.image_max_bytes());
        let collected = store.collect(&Collect { all: self.all, max_bytes, dry_run: self.dry_run })?;
        let images = collected.images.into_iter().map(ImageView::from).collect();
        let view = GcView { dry_run: self.dry_run, images, bytes: collected.bytes };
        if context.json {
            context.print_json(&view)?;
            return Ok(0);
        }
        for image in &view.images {
            let name = image.names.first().map_or_else(|| image.short_digest(), Clone::clone);
            context.print(&name)?;
        }
        let would = if self.dry_run { "would be " } else { "" };
        eprintln!("{} {would}freed", size(view.bytes));
        Ok(0)
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let quantity: Quantity = text
        .parse()
        .map_err(|refused: Invalid| format!("{}; accepted: {}", refused.problem, refused.accepted))?;
    quantity.units().ok_or_else(|| "it is more than can be counted; accepted: bytes, such as 20Gi".to_owned())
}

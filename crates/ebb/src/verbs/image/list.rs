//! `ebb image list`: the images of the home.

use clap::Args;
use serde::Serialize;

use super::view::{ImageView, size};
use crate::context::Context;
use crate::failure::Failure;
use crate::table;

/// List the images that are here
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb image list
  ebb image list --json")]
pub(super) struct List {}

/// The stable shape of `ebb image list --json`, and of what adds or changes images.
#[derive(Serialize)]
pub(super) struct ImagesView {
    pub(super) images: Vec<ImageView>,
}

impl List {
    /// Does it.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let images = super::store(context)?.list()?.into_iter().map(ImageView::from).collect();
        let view = ImagesView { images };
        if context.json {
            context.print_json(&view)?;
        } else {
            let header = ["NAME", "IMAGE", "SIZE", "MADE", "USED", "ORIGIN"];
            context.print(&table::render(&header, view.images.iter().flat_map(rows)))?;
        }
        Ok(0)
    }
}

/// A row for each name, and one for an image that has none.
fn rows(view: &ImageView) -> Vec<Vec<String>> {
    let row = |name: &str| {
        let name = name.to_owned();
        vec![name, view.short_digest(), size(view.bytes), view.age(), view.unused(), view.origin.to_owned()]
    };
    if view.names.is_empty() { vec![row("-")] } else { view.names.iter().map(|name| row(name)).collect() }
}

//! `ebb image rm`: takes the names of images away.

use clap::Args;
use ebbtide_image::{Collect, ImageName, Store};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;

/// Take names of images away
///
/// An image that has no name any more goes with its last one, unless something runs on it: then it goes with the first
/// `ebb image gc` after that.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb image rm python:3.11
  ebb image rm --missing-ok mine:1 mine:2")]
pub(super) struct Rm {
    /// The names.
    #[arg(required = true)]
    names: Vec<ImageName>,
    /// A name that is not there is no failure.
    #[arg(long)]
    missing_ok: bool,
}

/// What became of one name.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Removed,
    Missing,
    Failed,
}

#[derive(Serialize)]
struct TargetView {
    name: String,
    outcome: Outcome,
    /// The image that had the name.
    digest: Option<String>,
    /// Whether something runs on that image, which has no name any more and stays for it.
    in_use: bool,
    error: Option<String>,
}

/// The stable shape of `ebb image rm --json`.
#[derive(Serialize)]
struct RmView {
    images: Vec<TargetView>,
}

impl Rm {
    /// Does it.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let store = super::store(context)?;
        let mut results: Vec<_> =
            self.names.iter().map(|name| (name, remove(&store, name, self.missing_ok))).collect();
        if let [(_, Err(_))] = results[..]
            && let Some((_, Err(failure))) = results.pop()
        {
            return Err(failure);
        }
        store.collect(&Collect::default())?;
        let (total, failed) = (results.len(), results.iter().filter(|(_, result)| result.is_err()).count());
        let mut images = Vec::new();
        for (name, result) in results {
            images.push(view(&store, name, result)?);
        }
        if context.json {
            context.print_json(&RmView { images })?;
        } else {
            images.iter().try_for_each(|image| show(context, image))?;
        }
        if failed > 0 { Err(Failure::Partly { failed, total }) } else { Ok(0) }
    }
}

/// Takes one name away; tells the image that had it.
fn remove(
    store: &Store,
    name: &ImageName,
    missing_ok: bool,
) -> Result<Option<ebbtide_image::Digest>, Failure> {
    match super::find(store, name) {
        Ok(image) => {
            store.untag(name)?;
            Ok(Some(image.digest))
        }
        Err(Failure::NoSuchImage { .. }) if missing_ok => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn view(
    store: &Store,
    name: &ImageName,
    result: Result<Option<ebbtide_image::Digest>, Failure>,
) -> Result<TargetView, Failure> {
    let (outcome, digest, error) = match result {
        Ok(Some(digest)) => (Outcome::Removed, Some(digest), None),
        Ok(None) => (Outcome::Missing, None, None),
        Err(failure) => (Outcome::Failed, None, Some(failure.to_string())),
    };
    let in_use = match &digest {
        Some(digest) => store.list()?.iter().any(|image| image.digest == *digest && image.names.is_empty()),
        None => false,
    };
    Ok(TargetView {
        name: name.familiar(),
        outcome,
        digest: digest.map(|digest| digest.to_string()),
        in_use,
        error,
    })
}

fn show(context: &Context, image: &TargetView) -> Result<(), Failure> {
    match (&image.outcome, &image.error) {
        (Outcome::Missing, _) => eprintln!("{} was not there", image.name),
        (_, Some(error)) => eprintln!("ebb: {}: {error}", image.name),
        _ => {
            context.print(&image.name)?;
            if image.in_use {
                eprintln!("ebb: something runs on it: the image stays until `ebb image gc` after that");
            }
        }
    }
    Ok(())
}

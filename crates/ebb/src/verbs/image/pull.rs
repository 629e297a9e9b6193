//! `ebb image pull`: an image from its registry.

use std::time::Duration;

use clap::Args;
use ebbtide_image::{Image, ImageName, Platform, Puller};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::signals::Signals;

/// How long the threads of a pull may take to leave nothing behind.
const SETTLED: Duration = Duration::from_secs(10);

/// Bring an image here from its registry
///
/// A name without a registry is one of Docker's, a name without a tag has the tag `latest`. What is already here is not
/// fetched again. Who logs in with `docker login` as root is logged in here too; mirrors, and registries with a certificate
/// of their own or without TLS, are told of in `ebbtide.toml`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb image pull python:3.11
  ebb image pull --platform linux/arm64 registry.example/team/app@sha256:0123...")]
pub(super) struct Pull {
    /// The image: a repository, with a registry before it and a tag or a digest after it if you like.
    name: String,
    /// For another kind of machine than this one, e.g. linux/arm64 or linux/arm/v7.
    #[arg(long)]
    platform: Option<Platform>,
}

/// The stable shape of `ebb image pull --json`.
#[derive(Serialize)]
struct PullView {
    name: String,
    digest: String,
    platform: String,
    layers: usize,
    bytes: u64,
}

impl Pull {
    /// Does it.
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        if self.name == super::HOST {
            return Err(Failure::ReservedImageName);
        }
        let name: ImageName = self.name.parse()?;
        let (home, config, store) = super::open(context)?;
        let mut registries = config.registries(home.state_dir())?;
        if let Some(platform) = self.platform {
            registries.platform = platform;
        }
        let mut signals = Signals::install()?;
        let puller = Puller::new(store, registries);
        let image = tokio::select! {
            image = watch(&puller, &name, context.json) => image,
            signal = signals.next() => Err(Failure::Interrupted { signal }),
        };
        // What was given up is taken away by threads of its own.
        let _ = tokio::time::timeout(SETTLED, puller.settled()).await;
        let image = image?;
        let (name, digest) = (name.familiar(), image.digest.to_string());
        if context.json {
            let Image { platform, layers, bytes, .. } = image;
            context.print_json(&PullView { name, digest, platform, layers: layers.len(), bytes })?;
        } else {
            context.print(&format!("{name} {digest}"))?;
        }
        Ok(0)
    }
}

/// Pulls, and shows it to whoever watches a terminal.
async fn watch(puller: &Puller, name: &ImageName, quiet: bool) -> Result<Image, Failure> {
    let line = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        line.set_style(style);
    }
    let pull = puller.pull(name, None);
    let mut progress = pull.progress();
    let done = pull.done();
    tokio::pin!(done);
    let ended = loop {
        line.set_message(progress.borrow_and_update().to_string());
        tokio::select! {
            ended = &mut done => break ended,
            Ok(()) = progress.changed() => line.tick(),
        }
    };
    line.finish_and_clear();
    Ok(ended?)
}

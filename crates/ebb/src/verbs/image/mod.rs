//! `ebb image`: the images of the home, and their names.

mod alias;
mod gc;
mod inspect;
mod list;
mod load;
mod pull;
mod rm;
mod save;
mod view;

use clap::{Args, Subcommand};
use ebbtide::{Error, Home};
use ebbtide_image::{ImageName, Store};

use crate::context::Context;
use crate::daemon::{Config, DaemonError};
use crate::failure::Failure;

/// The name that stands for the machine's own programs, and so for no image.
const HOST: &str = "host";

/// Bring images here, look at them, and name them
///
/// A sandbox runs on an image: `ebb run --image python:3.11`. It is looked for among the images that are here, then among
/// the aliases. These verbs work on the store of the home, also while its daemon runs; what they change holds from
/// the next sandbox on.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb image pull python:3.11
  ebb image load python.tar
  ebb image list
  ebb image alias python:3.11 host")]
pub(crate) struct Image {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Pull(pull::Pull),
    Load(load::Load),
    Save(save::Save),
    List(list::List),
    Inspect(inspect::Inspect),
    Rm(rm::Rm),
    Gc(gc::Gc),
    Alias(alias::Alias),
}

impl Image {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        match self.action {
            Action::Pull(pull) => pull.run(context).await,
            Action::Load(load) => load.run(context),
            Action::Save(save) => save.run(context).await,
            Action::List(list) => list.run(context),
            Action::Inspect(inspect) => inspect.run(context),
            Action::Rm(rm) => rm.run(context),
            Action::Gc(gc) => gc.run(context),
            Action::Alias(alias) => alias.run(context),
        }
    }
}

/// The home, what its configuration says, and its images.
fn open(context: &Context) -> Result<(Home, Config, Store), Failure> {
    let home = context.own_location("image")?.open().map_err(Error::from)?;
    let config = Config::read(&home.config()).map_err(DaemonError::from)?;
    let store = Store::open(home.state_dir().join("images"), config.image_limits())?;
    Ok((home, config, store))
}

/// The images of the home.
fn store(context: &Context) -> Result<Store, Failure> {
    Ok(open(context)?.2)
}

/// The image of this name.
fn find(store: &Store, name: &ImageName) -> Result<ebbtide_image::Image, Failure> {
    store.find(name)?.ok_or_else(|| Failure::NoSuchImage { name: name.familiar() })
}

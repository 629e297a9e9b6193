//! `ebb image load`: images without a registry.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;
use ebbtide_image::archive::{LoadSource, RootConfig, load, load_directory, load_tar};
use ebbtide_image::{Collect, Image, ImageName, Store};

use super::list::ImagesView;
use super::view::ImageView;
use crate::context::Context;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::spec::Variable;

/// Load an image from a file or a directory
///
/// What it is, is seen from its content: an OCI layout (a directory, or an archive of one), an archive of `docker save`, or
/// a tar of a root file system; archives also compressed with gzip or zstd. Images that say what they are called keep that
/// name unless another one is given.
#[derive(Debug, Args)]
#[command(
    override_usage = "ebb image load [OPTIONS] <FILE|DIR> [NAME]\n       ebb image load [OPTIONS] --from-rootfs <DIR> \
                      <NAME>\n       ebb image load [OPTIONS] --from-tar <FILE> <NAME>",
    after_help = "\
Examples:
  ebb image load python.tar
  docker save python:3.11 | ebb image load -
  ebb image load --from-rootfs ./root --cmd /bin/sh mine:1"
)]
pub(super) struct Load {
    /// What to load (`-` for standard input), and what to call it.
    #[arg(value_name = "FILE|DIR|NAME", required = true, num_args = 1..=2)]
    words: Vec<String>,
    /// Make an image of one layer from a directory, with its owners and extended attributes (`user.*` and capabilities).
    #[arg(long, value_name = "DIR", group = "root")]
    from_rootfs: Option<PathBuf>,
    /// Make an image of one layer from a tar of a root file system, whatever files are in it.
    #[arg(long, value_name = "FILE", group = "root")]
    from_tar: Option<PathBuf>,
    /// A word of the command that always runs; repeat it for more.
    #[arg(long, value_name = "WORD", requires = "root", allow_hyphen_values = true)]
    entrypoint: Vec<String>,
    /// A word of the command, or of its arguments if there is an entrypoint; repeat it for more.
    #[arg(long, value_name = "WORD", requires = "root", allow_hyphen_values = true)]
    cmd: Vec<String>,
    /// A variable of the commands' environment; may be repeated.
    #[arg(long, short, value_name = "K=V", requires = "root")]
    env: Vec<Variable>,
    /// The directory that commands start in.
    #[arg(long, value_name = "DIR", requires = "root")]
    workdir: Option<String>,
    /// The user that commands run as, and a group after a colon if you like: names or numbers.
    #[arg(long, value_name = "USER", requires = "root")]
    user: Option<String>,
}

impl Load {
    /// Does it.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let progress = Progress::new(context.json);
        let add = |bytes| progress.add(bytes);
        let store = super::store(context)?;
        let images = self.load(&store, &add);
        progress.finish();
        let images = images.inspect_err(|_| {
            // What had come is of no image now. If somebody else is at work it is collected another time.
            let _ = store.collect(&Collect::default());
        })?;
        if context.json {
            context.print_json(&ImagesView { images: images.into_iter().map(ImageView::from).collect() })?;
        } else {
            for name in images.iter().flat_map(|image| &image.names) {
                context.print(&name.familiar())?;
            }
        }
        Ok(0)
    }

    fn load(self, store: &Store, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<Image>, Failure> {
        let config = RootConfig {
            user: self.user,
            env: self.env.iter().map(|Variable { name, value }| format!("{name}={value}")).collect(),
            entrypoint: self.entrypoint,
            cmd: self.cmd,
            working_dir: self.workdir,
        };
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        match (self.from_rootfs, self.from_tar, words.as_slice()) {
            (Some(directory), _, [new]) => {
                Ok(vec![load_directory(store, &directory, &name(new)?, &config, progress)?])
            }
            (None, Some(file), [new]) => {
                Ok(vec![load_tar(store, &source(&file)?, &name(new)?, &config, progress)?])
            }
            (None, None, [file, rest @ ..]) => {
                let name = rest.first().map(|new| name(new)).transpose()?;
                Ok(load(store, &source(Path::new(file))?, name.as_ref(), progress)?)
            }
            _ => Err(Failure::LoadWords),
        }
    }
}

fn source(path: &Path) -> Result<LoadSource, Failure> {
    if path != Path::new("-") {
        return Ok(LoadSource::Path(path.to_owned()));
    }
    if io::stdin().is_terminal() {
        return Err(Failure::ArchiveOnTerminal);
    }
    Ok(LoadSource::StandardInput)
}

/// A name that an image may be given.
fn name(text: &str) -> Result<ImageName, Failure> {
    if text == super::HOST {
        return Err(Failure::ReservedImageName);
    }
    Ok(text.parse::<ImageName>()?)
}

//! `ebb image save`: an image as a file that other tools read.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use ebbtide_image::archive::{SaveError, save_docker_archive, save_oci_archive, save_oci_directory};
use ebbtide_image::{Image, ImageName, Store};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::signals::Signals;

/// How much is written at once.
const PIECE: usize = 256 * 1024;

/// Save an image to a file
///
/// The file is there at once when all of it has been written, or not at all. The same image gives the same bytes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb image save python:3.11 -o python.tar
  ebb image save --format docker python:3.11 -o - | docker load")]
pub(super) struct Save {
    /// The image.
    name: ImageName,
    /// Where to: a file, a new directory for oci-dir, or `-` for standard output.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// What to write.
    #[arg(long, value_enum, default_value_t = Format::Oci)]
    format: Format,
}

/// A way to write an image down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Format {
    /// A tar archive with an OCI layout in it; every digest stays.
    Oci,
    /// An OCI layout in a directory; every digest stays.
    OciDir,
    /// What `docker load` reads, also in old versions; the layers stay, the digest of the whole does not.
    Docker,
}

/// The stable shape of `ebb image save --json`.
#[derive(Serialize)]
struct SaveView {
    name: String,
    digest: String,
    format: Format,
    output: String,
}

impl Save {
    /// Does it.
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let store = super::store(context)?;
        let image = super::find(&store, &self.name)?;
        let digest = image.digest.to_string();
        let progress = Arc::new(Progress::new(context.json));
        let work = Work {
            store,
            image,
            name: self.name.clone(),
            format: self.format,
            progress: Arc::clone(&progress),
        };
        let to_stdout = self.output == Path::new("-");
        let done = if to_stdout { work.into_stdout().await } else { work.into_place(&self.output).await };
        progress.finish();
        done?;
        if context.json && !to_stdout {
            let (name, output) = (self.name.familiar(), self.output.display().to_string());
            context.print_json(&SaveView { name, digest, format: self.format, output })?;
        }
        Ok(0)
    }
}

/// One save, on a thread of its own so that a signal can end it.
struct Work {
    store: Store,
    image: Image,
    name: ImageName,
    format: Format,
    progress: Arc<Progress>,
}

impl Work {
    async fn into_stdout(self) -> Result<(), Failure> {
        if self.format == Format::OciDir {
            return Err(Failure::DirectoryToStdout);
        }
        if io::stdout().is_terminal() {
            return Err(Failure::ArchiveOnTerminal);
        }
        self.on_a_thread(|work| work.archive(io::stdout())).await
    }

    /// Written beside its place and put there when it is whole. What a signal cuts off is removed.
    async fn into_place(self, output: &Path) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::io(format!("write {}", output.display()), error);
        let beside =
            output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut draft = tempfile::Builder::new();
        draft.prefix(".ebb-save-");
        if self.format == Format::OciDir {
            let draft =
                draft.permissions(Permissions::from_mode(0o777)).tempdir_in(beside).map_err(failed)?;
            let path = draft.path().to_owned();
            self.on_a_thread(move |work| {
                let add = |bytes| work.progress.add(bytes);
                save_oci_directory(&work.store, &work.image, &work.name, &path, &add)
            })
            .await?;
            // A directory that is there and empty is replaced, any other refused.
            fs::rename(draft.path(), output).map_err(failed)?;
            let _ = draft.keep();
            return Ok(());
        }
        match fs::metadata(output) {
            // A device or a pipe is written to, not replaced; a directory is refused.
            Ok(there) if !there.is_file() => {
                let file = File::options().write(true).open(output).map_err(failed)?;
                return self.on_a_thread(move |work| work.archive(file)).await;
            }
            _ => {}
        }
        let draft = draft.permissions(Permissions::from_mode(0o666)).tempfile_in(beside).map_err(failed)?;
        let file = draft.as_file().try_clone().map_err(failed)?;
        self.on_a_thread(move |work| {
            let synced: &File = &file;
            work.archive(synced)?;
            Ok(synced.sync_all()?)
        })
        .await?;
        draft.persist(output).map_err(|error| failed(error.error))?;
        Ok(())
    }

    fn archive(&self, out: impl Write) -> Result<(), SaveError> {
        let out = BufWriter::with_capacity(PIECE, out);
        let add = |bytes| self.progress.add(bytes);
        match self.format {
            Format::Docker => save_docker_archive(&self.store, &self.image, &self.name, out, &add),
            Format::Oci | Format::OciDir => save_oci_archive(&self.store, &self.image, &self.name, out, &add),
        }
    }

    async fn on_a_thread(
        self,
        act: impl FnOnce(&Self) -> Result<(), SaveError> + Send + 'static,
    ) -> Result<(), Failure> {
        let mut signals = Signals::install()?;
        let work = tokio::task::spawn_blocking(move || act(&self));
        tokio::select! {
            done = work => Ok(done.map_err(|error| Failure::io("save the image", io::Error::other(error)))??),
            signal = signals.next() => Err(Failure::Interrupted { signal }),
        }
    }
}

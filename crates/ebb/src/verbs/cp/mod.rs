//! `ebb cp`: files and directories into a sandbox and out of it.

mod download;
mod ends;
mod pieces;
mod upload;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::signals::Signals;
use ends::End;

/// Copy a file or a directory into a sandbox, or out of it
///
/// One of the two is in a sandbox: ID:PATH. A directory is copied with all that is in it: into a directory that is there,
/// else as a new one. A file is replaced at once when all of it has come. `-` is standard input or output, for a file.
/// Modes are kept but for set-user-id and its like; everything belongs to root inside and to you outside. Links are
/// copied as links. Devices, pipes and sockets are left out.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb cp notes.txt 01k3q:/tmp/
  ebb cp project 01k3q:/root
  ebb cp 01k3q:/root/project/build ./build
  ebb cp 01k3q:/etc/passwd -")]
pub(crate) struct Cp {
    /// What to copy: a path, ID:PATH, or -.
    source: End,
    /// Where to: a path, ID:PATH, or -.
    destination: End,
}

/// What was copied.
struct Copied {
    /// Where it is now.
    to: String,
    directory: bool,
    bytes: u64,
    skipped: Skipped,
}

/// What was left out.
#[derive(Default)]
struct Skipped {
    count: u64,
    some: Vec<PathBuf>,
}

/// The stable shape of `ebb cp --json`.
#[derive(Serialize)]
struct CopyView {
    sandbox_id: String,
    source: String,
    destination: String,
    directory: bool,
    bytes: u64,
    skipped: u64,
}

impl Cp {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let id = match (&self.source, &self.destination) {
            (End::Inside { id, .. }, End::Local(_) | End::Standard)
            | (End::Local(_) | End::Standard, End::Inside { id, .. }) => id,
            _ => return Err(Failure::CopyEnds),
        };
        let mut signals = Signals::install()?;
        let daemon = context.daemon()?;
        let (client, id) = context.resolve(&daemon, id).await?;
        let progress = Progress::new(context.json);
        let copy = async {
            match (&self.source, &self.destination) {
                (End::Inside { path, .. }, to) => download::download(&client, &id, path, to, &progress).await,
                (from, End::Inside { path, .. }) => upload::upload(&client, &id, from, path, &progress).await,
                _ => Err(Failure::CopyEnds),
            }
        };
        // What is dropped half-way leaves the old file, on either side.
        let copied = tokio::select! {
            copied = copy => copied,
            signal = signals.next() => Err(Failure::Interrupted { signal }),
        };
        progress.finish();
        let Copied { to, directory, bytes, skipped } = copied?;
        if skipped.count > 0 {
            let more = if skipped.count > skipped.some.len() as u64 { ", ..." } else { "" };
            let names: Vec<_> = skipped.some.iter().map(|path| format!("{path:?}")).collect();
            eprintln!("ebb: left out {} devices or pipes: {}{more}", skipped.count, names.join(", "));
        }
        if context.json {
            context.print_json(&CopyView {
                sandbox_id: id,
                source: self.source.to_string(),
                destination: to,
                directory,
                bytes,
                skipped: skipped.count,
            })?;
        }
        Ok(0)
    }
}

/// The word by which a program knows why the daemon refused.
fn reason(error: &ebbtide::Error) -> &str {
    error.rejection().and_then(|rejection| rejection.reason.as_deref()).unwrap_or_default()
}

const IS_DIRECTORY: &str = "CWSANDBOX_FILE_IS_DIRECTORY";

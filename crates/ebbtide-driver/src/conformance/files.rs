//! Files, from outside: what is written arrives whole or not at all, and every path that leads nowhere says so.

use ebbtide_model::{ExitStatus, MountedFile, SandboxId};

use super::context::{Context, Failure, ensure, ensure_eq, sh, words};
use super::scripts;
use crate::{Content, DriverError, FileErrorKind, Sink, WriteOptions};

pub(super) async fn written_file_is_read_back(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let path = "/tmp/some/new/place/file";
    for bytes in [&b"first\0\xff"[..], b"", b"second"] {
        put(context, &id, path, bytes, WriteOptions::default()).await?;
        ensure_eq("content", get(context, &id, path).await?.1.as_slice(), bytes)?;
    }
    // The sandbox's own commands see the same.
    let cat = context.run(&id, words(&["cat", path])).await?;
    ensure_eq("content by cat", cat.stdout.as_slice(), b"second")
}

pub(super) async fn replaced_file_keeps_its_mode(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let path = "/tmp/file";
    let with = |mode| WriteOptions { mode, ..WriteOptions::default() };
    for (asked, expected) in [(None, 0o644), (Some(0o700), 0o700), (None, 0o700), (Some(0o604), 0o604)] {
        put(context, &id, path, b"x", with(asked)).await?;
        ensure_eq("mode", format!("{:o}", get(context, &id, path).await?.0), format!("{expected:o}"))?;
    }
    Ok(())
}

pub(super) async fn dropped_write_leaves_the_old_file(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    put(context, &id, "/tmp/file", b"old", WriteOptions::default()).await?;
    for path in ["/tmp/file", "/tmp/other"] {
        let mut sink = open(context, &id, path, WriteOptions::default()).await?;
        context.soon("write", sink.write(b"new")).await?;
        drop(sink);
    }
    // What is undone may be undone a little later; what is there must be the old all the time.
    context.run(&id, sh(scripts::COUNT, &[])).await?;
    ensure_eq("content", get(context, &id, "/tmp/file").await?.1.as_slice(), b"old")?;
    match context.bounded("read", context.driver()?.open_read(&id, "/tmp/other")).await? {
        Err(DriverError::File(error)) => ensure_eq("kind", error.kind, FileErrorKind::NotFound),
        other => Err(Failure::Broken(format!("a file that was never committed: {other:?}"))),
    }
}

pub(super) async fn idle_write_hears_of_the_end(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let mut sink = open(context, &id, "/tmp/file", WriteOptions::default()).await?;
    context.soon("write", sink.write(b"x")).await?;
    // It does not hold the end up either, as a command would that handles SIGTERM.
    context.stop(&id, std::time::Duration::from_secs(100)).await?;
    context.ended(&id).await?;
    match context.bounded("hearing of it", sink.refused()).await? {
        DriverError::NotRunning(_) | DriverError::NotFound(_) => Ok(()),
        DriverError::File(error) if error.kind == FileErrorKind::Interrupted => Ok(()),
        error => Err(Failure::Broken(format!("the end is told as {error:?}"))),
    }
}

pub(super) async fn write_of_another_size_is_refused(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    put(context, &id, "/tmp/file", b"old", WriteOptions { size: Some(3), ..WriteOptions::default() }).await?;
    for bytes in [&b"ne"[..], b"newer"] {
        let options = WriteOptions { size: Some(3), ..WriteOptions::default() };
        let mut sink = open(context, &id, "/tmp/file", options).await?;
        let written = async {
            sink.write(bytes).await?;
            sink.commit().await
        };
        match context.bounded("write", written).await? {
            Err(DriverError::File(error)) => match error.kind {
                FileErrorKind::Truncated { .. } | FileErrorKind::TooLarge { .. } => {}
                kind => return Err(Failure::Broken(format!("another size is answered with {kind:?}"))),
            },
            other => return Err(Failure::Broken(format!("another size is answered with {other:?}"))),
        }
        ensure_eq("content", get(context, &id, "/tmp/file").await?.1.as_slice(), b"old")?;
    }
    Ok(())
}

pub(super) async fn paths_that_lead_to_no_file_are_typed_errors(
    context: &Context<'_>,
) -> Result<(), Failure> {
    let id = context.idle().await?;
    put(context, &id, "/tmp/file", b"x", WriteOptions::default()).await?;
    for (path, kind) in [
        ("/ebbtide-no-such-directory/file", FileErrorKind::NotFound),
        ("/tmp", FileErrorKind::IsDirectory),
        ("/tmp/", FileErrorKind::IsDirectory),
        ("/dev/null", FileErrorKind::NotRegular),
        ("/tmp/file/below", FileErrorKind::NotDirectory),
    ] {
        let read = context.bounded("read", context.driver()?.open_read(&id, path)).await?;
        refused("read", path, &kind, read.map(drop))?;
        if kind != FileErrorKind::NotFound {
            let options = WriteOptions::default();
            let write = context.bounded("write", context.driver()?.open_write(&id, path, options)).await?;
            refused("write", path, &kind, write.map(drop))?;
        }
    }
    Ok(())
}

fn refused(
    call: &str,
    path: &str,
    kind: &FileErrorKind,
    answer: Result<(), DriverError>,
) -> Result<(), Failure> {
    match answer {
        Err(DriverError::File(error)) => {
            ensure_eq(&format!("{call} of {path}"), &error.kind, kind)?;
            ensure_eq("path in the error", error.path.as_str(), path)
        }
        other => Err(Failure::Broken(format!("{call} of {path} is answered with {other:?}"))),
    }
}

pub(super) async fn large_file_is_intact_both_ways(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let bytes = scripts::counted();
    let options = WriteOptions { size: Some(bytes.len() as u64), ..WriteOptions::default() };
    let mut sink = open(context, &id, "/tmp/large", options).await?;
    for piece in bytes.chunks(100_000) {
        context.soon("write", sink.write(piece)).await?;
    }
    context.soon("commit", sink.commit()).await?;
    let found = get(context, &id, "/tmp/large").await?.1;
    ensure(found == bytes, || format!("{} bytes came back of {}", found.len(), bytes.len()))?;
    // And one that is left in the middle.
    let mut read = context.soon("read", context.driver()?.open_read(&id, "/tmp/large")).await?;
    context.soon("a piece", read.content.next()).await?;
    drop(read);
    ensure_eq("true", context.run(&id, words(&["true"])).await?.status, ExitStatus::Code(0))
}

pub(super) async fn directory_comes_back_as_it_was(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let files = [("one", &b"1"[..]), ("below/two", b""), ("below/more/three", scripts::counted())];
    for (name, content) in files {
        put(context, &id, &format!("/tmp/from/{name}"), content, WriteOptions::default()).await?;
    }
    let mut packed = context.soon("pack", context.driver()?.pack(&id, "/tmp/from")).await?;
    let archive = all(context, packed.as_mut()).await?;
    let mut sink = context.soon("unpack", context.driver()?.unpack(&id, "/tmp/to/here")).await?;
    for piece in archive.chunks(50_000) {
        context.soon("write", sink.write(piece)).await?;
    }
    context.soon("commit", sink.commit()).await?;
    for (name, content) in files {
        let found = get(context, &id, &format!("/tmp/to/here/{name}")).await?.1;
        ensure(found == content, || format!("{name}: {} bytes of {}", found.len(), content.len()))?;
    }
    for (path, kind) in
        [("/tmp/from/one", FileErrorKind::NotDirectory), ("/tmp/nothing", FileErrorKind::NotFound)]
    {
        let pack = context.bounded("pack", context.driver()?.pack(&id, path)).await?;
        refused("pack", path, &kind, pack.map(drop))?;
    }
    let path = "/tmp/from/one";
    let unpack = context.bounded("unpack", context.driver()?.unpack(&id, path)).await?;
    refused("unpack", path, &FileErrorKind::NotDirectory, unpack.map(drop))
}

pub(super) async fn mounted_files_are_there_first_and_cannot_be_written(
    context: &Context<'_>,
) -> Result<(), Failure> {
    let mut plan = context.plan(sh(scripts::KEEP_MOUNTED, &[]));
    let paths = [scripts::MOUNTED, "/etc/ebbtide-mounted"];
    plan.files = paths.map(|path| MountedFile::new(path, path.as_bytes())).into();
    context.create(&plan).await?;
    for path in paths {
        ensure_eq("content", get(context, &plan.id, path).await?.1.as_slice(), path.as_bytes())?;
        let driver = context.driver()?;
        let write = driver.open_write(&plan.id, path, WriteOptions::default());
        refused("write", path, &FileErrorKind::ReadOnly, context.bounded("write", write).await?.map(drop))?;
    }
    let kept = context.run(&plan.id, sh(scripts::SHOW_KEPT, &[])).await?.stdout;
    ensure_eq("what the main command saw", String::from_utf8_lossy(&kept).as_ref(), scripts::MOUNTED)
}

pub(super) async fn files_after_the_end_are_refused(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.sandbox(words(&["true"])).await?;
    context.ended(&id).await?;
    let driver = context.driver()?;
    let answers = [
        ("read", context.bounded("read", driver.open_read(&id, "/tmp/x")).await?.map(drop)),
        (
            "write",
            context
                .bounded("write", driver.open_write(&id, "/tmp/x", WriteOptions::default()))
                .await?
                .map(drop),
        ),
    ];
    for (call, answer) in answers {
        match answer {
            Err(DriverError::NotRunning(_) | DriverError::NotFound(_)) => {}
            other => return Err(Failure::Broken(format!("{call} after the end: {other:?}"))),
        }
    }
    Ok(())
}

async fn open(
    context: &Context<'_>,
    id: &SandboxId,
    path: &str,
    options: WriteOptions,
) -> Result<Box<dyn Sink>, Failure> {
    context.soon("write", context.driver()?.open_write(id, path, options)).await
}

async fn put(
    context: &Context<'_>,
    id: &SandboxId,
    path: &str,
    bytes: &[u8],
    options: WriteOptions,
) -> Result<(), Failure> {
    let mut sink = open(context, id, path, options).await?;
    if !bytes.is_empty() {
        context.soon("write", sink.write(bytes)).await?;
    }
    context.soon("commit", sink.commit()).await
}

/// The mode and the content of a file.
async fn get(context: &Context<'_>, id: &SandboxId, path: &str) -> Result<(u32, Vec<u8>), Failure> {
    let mut read = context.soon("read", context.driver()?.open_read(id, path)).await?;
    let bytes = all(context, read.content.as_mut()).await?;
    ensure_eq("size", bytes.len() as u64, read.size)?;
    Ok((read.mode, bytes))
}

async fn all(context: &Context<'_>, content: &mut dyn Content) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(piece) = context.soon("the next piece", content.next()).await? {
        bytes.extend(piece);
    }
    Ok(bytes)
}

//! Files of a sandbox by its handle.

use std::io::{Read as _, Write as _};

use ebbtide::{ErrorKind, StopOptions, WriteOptions, blocking};
use ebbtide_tests::Machine;

use crate::{builder, connection};

/// Bytes that no chance makes the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[tokio::test]
async fn files_go_in_and_come_out_whole_whatever_their_size() {
    let machine = Machine::take();
    let home = machine.home();
    let sandbox = builder(&home).mounted_file("/etc/motd-of-the-test", "mounted").build().unwrap();
    // The first use starts it.
    assert_eq!(sandbox.read_file("/etc/motd-of-the-test").await.unwrap(), b"mounted");
    for length in [0, 1, 70_000, 40 << 20] {
        let content = noise(length);
        sandbox.write_file("/work/new/file", content.clone()).await.unwrap();
        assert!(sandbox.read_file("/work/new/file").await.unwrap() == content, "{length} bytes");
    }
    let options = WriteOptions { mode: Some(0o755), ..WriteOptions::default() };
    let mut tool = sandbox.write_file_stream("/work/tool", options).await.unwrap();
    tool.write("#!/bin/sh\n").await.unwrap();
    tool.write("echo made of pieces\n").await.unwrap();
    tool.commit().await.unwrap();
    let said = sandbox.exec(["/work/tool"]).check().output().await.unwrap();
    assert_eq!(said.stdout, b"made of pieces\n");
    let mut tool = sandbox.write_file_stream("/work/tool", options).await.unwrap();
    tool.write("half").await.unwrap();
    drop(tool);
    let file = sandbox.read_file_stream("/work/tool").await.unwrap();
    assert_eq!((file.size, file.mode & 0o777), (30, 0o755), "half a write is none");
    sandbox.stop_with(StopOptions::now()).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_not_there_is_not_taken_for_a_sandbox_that_is_not_there() {
    let machine = Machine::take();
    let home = machine.home();
    let sandbox = builder(&home).run().await.unwrap();
    let missing = sandbox.read_file("/no/such/file").await.unwrap_err();
    assert_eq!((missing.kind(), missing.reason()), (ErrorKind::File, Some("CWSANDBOX_FILE_NOT_FOUND")));
    assert_eq!(missing.file_path(), Some("/no/such/file"));
    assert!(!missing.is_not_found());
    let directory = sandbox.read_file("/tmp").await.unwrap_err();
    assert_eq!(directory.reason(), Some("CWSANDBOX_FILE_IS_DIRECTORY"));
    sandbox.stop_with(StopOptions::now()).await.unwrap();
    let over = sandbox.read_file("/etc/passwd").await.unwrap_err();
    assert_eq!(over.kind(), ErrorKind::NotRunning);
}

#[tokio::test]
async fn a_directory_goes_from_one_sandbox_to_another() {
    let machine = Machine::take();
    let home = machine.home();
    let (from, to) = (builder(&home).build().unwrap(), builder(&home).build().unwrap());
    from.exec(["sh", "-c", "mkdir -p /d/e; echo one > /d/e/f; ln -s e/f /d/l"])
        .check()
        .output()
        .await
        .unwrap();
    let mut pieces = from.pack("/d").await.unwrap();
    let mut unpacking = to.unpack("/copy").await.unwrap();
    while let Some(piece) = pieces.next().await.unwrap() {
        unpacking.write(piece).await.unwrap();
    }
    unpacking.commit().await.unwrap();
    let said = to.exec(["sh", "-c", "cat /copy/l; readlink /copy/l"]).check().output().await.unwrap();
    assert_eq!(said.stdout_text(), "one\ne/f\n");
    from.stop_with(StopOptions::now()).await.unwrap();
    to.stop_with(StopOptions::now()).await.unwrap();
}

#[test]
fn files_are_read_and_written_without_async_too() {
    let machine = Machine::take();
    let home = machine.home();
    let sandbox = blocking::Sandbox::builder().connection(connection(&home)).run().unwrap();
    let content = noise(3 << 20);
    let mut file = sandbox.write_file_stream("/work/file", WriteOptions::default()).unwrap();
    file.write_all(&content).unwrap();
    file.commit().unwrap();
    let mut file = sandbox.read_file_stream("/work/file").unwrap();
    assert_eq!(file.size, 3 << 20);
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert!(read == content);
    sandbox.write_file("/work/file", "small").unwrap();
    assert_eq!(sandbox.read_file("/work/file").unwrap(), b"small");
    sandbox.stop().unwrap();
}

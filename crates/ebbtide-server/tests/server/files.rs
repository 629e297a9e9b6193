//! Files: whole ones of the public protocol, streams of our own.

use ebbtide_proto::bytes::Bytes;
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::ebbtide::v1 as own;
use own::write_file_piece::Piece;
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::daemon::{Client, Daemon, SOON, field, reason};

const MAX: usize = 32 << 20;

async fn read(client: &mut Client, id: &str, path: &str) -> Result<Bytes, Status> {
    let request =
        wire::ReadFileRequest { sandbox_id: id.to_owned(), path: path.to_owned(), ..Default::default() };
    Ok(timeout(SOON, client.sandboxes.read_file(request)).await.expect("a read ends")?.into_inner().content)
}

async fn write(client: &mut Client, id: &str, path: &str, content: impl Into<Bytes>) -> Result<(), Status> {
    let request = wire::WriteFileRequest {
        sandbox_id: id.to_owned(),
        path: path.to_owned(),
        content: content.into(),
        ..Default::default()
    };
    client.sandboxes.clone().max_encoding_message_size(usize::MAX).write_file(request).await.map(drop)
}

async fn stream(client: &mut Client, pieces: Vec<Piece>) -> Result<(), Status> {
    let pieces: Vec<_> = pieces.into_iter().map(|piece| own::WriteFilePiece { piece: Some(piece) }).collect();
    timeout(SOON, client.own.write_file(futures::stream::iter(pieces))).await.expect("a write ends").map(drop)
}

fn start(id: &str, mode: Option<u32>, size: Option<u64>) -> Piece {
    Piece::Start(own::WriteFileStart { sandbox_id: id.to_owned(), path: "/tmp/f".to_owned(), mode, size })
}

fn data(bytes: &'static [u8]) -> Piece {
    Piece::Data(Bytes::from_static(bytes))
}

const COMMIT: Piece = Piece::Commit(own::Commit {});

#[tokio::test]
async fn a_file_is_written_and_read_whole() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    client.sandboxes = client.sandboxes.max_decoding_message_size(usize::MAX);
    let large: Bytes = (0..MAX).map(|n| (n * 31 + n / 251) as u8).collect::<Vec<_>>().into();
    for content in [Bytes::from_static(b"first\0\xff"), Bytes::new(), large] {
        write(&mut client, &id, "/tmp/new/place", content.clone()).await.unwrap();
        assert!(
            read(&mut client, &id, "/tmp/new/place").await.unwrap() == content,
            "{} bytes",
            content.len()
        );
    }
}

#[tokio::test]
async fn each_error_of_a_file_has_its_reason_and_names_the_path() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    write(&mut client, &id, "/tmp/f", "x").await.unwrap();
    for (path, expected) in [
        ("/tmp/nothing", "CWSANDBOX_FILE_NOT_FOUND"),
        ("/tmp", "CWSANDBOX_FILE_IS_DIRECTORY"),
        ("/dev/null", "CWSANDBOX_FILE_IO_FAILED"),
        ("/tmp/f/below", "CWSANDBOX_FILE_IO_FAILED"),
    ] {
        let status = read(&mut client, &id, path).await.unwrap_err();
        assert_eq!(reason(&status), expected, "{path}");
        let metadata = status.get_details_error_info().unwrap().metadata;
        assert_eq!((metadata["filepath"].as_str(), metadata["operation"].as_str()), (path, "read_file"));
    }
    let status = write(&mut client, &id, "/tmp", "x").await.unwrap_err();
    assert_eq!(reason(&status), "CWSANDBOX_FILE_IS_DIRECTORY");
    assert_eq!(status.get_details_error_info().unwrap().metadata["operation"], "write_file");
}

#[tokio::test]
async fn a_file_too_large_for_a_message_tells_both_sizes() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let sizes = |status: &Status| {
        let metadata = status.get_details_error_info().unwrap().metadata;
        (metadata["size_bytes"].clone(), metadata["max_size_bytes"].clone())
    };
    let expected = ((MAX + 1).to_string(), MAX.to_string());
    let large = Bytes::from(vec![7; MAX + 1]);
    let status = write(&mut client, &id, "/tmp/f", large.clone()).await.unwrap_err();
    assert_eq!((reason(&status).as_str(), sizes(&status)), ("CWSANDBOX_FILE_TOO_LARGE", expected.clone()));
    // By a stream it goes in, and then is too large to come out whole.
    let path = "/tmp/f".to_owned();
    let begin = own::WriteFileStart { sandbox_id: id.clone(), path, mode: None, size: None };
    let pieces: Vec<_> = std::iter::once(Piece::Start(begin))
        .chain((0..33).map(|part| {
            let from = part << 20;
            Piece::Data(large.slice(from..(from + (1 << 20)).min(large.len())))
        }))
        .chain([COMMIT])
        .collect();
    stream(&mut client, pieces).await.unwrap();
    let status = read(&mut client, &id, "/tmp/f").await.unwrap_err();
    assert_eq!((reason(&status).as_str(), sizes(&status)), ("CWSANDBOX_FILE_TOO_LARGE", expected));
}

#[tokio::test]
async fn container_and_path_are_checked_before_anything_is_opened() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    let request = wire::ReadFileRequest { sandbox_id: id.clone(), path: "/f".into(), container: "no".into() };
    assert_eq!(field(&client.sandboxes.read_file(request).await.unwrap_err()), "container");
    for path in ["", "/a\0b", &"x".repeat(5000)] {
        let status = read(&mut client, &id, path).await.unwrap_err();
        assert_eq!((status.code(), field(&status).as_str()), (Code::InvalidArgument, "path"));
    }
    client.delete(&id).await.unwrap();
    client.wait(&id).await.unwrap();
    let status = read(&mut client, &id, "/tmp/f").await.unwrap_err();
    assert_eq!(reason(&status), "CWSANDBOX_SANDBOX_NOT_RUNNING");
}

#[tokio::test]
async fn a_stream_without_a_commit_changes_nothing() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    write(&mut client, &id, "/tmp/f", "old").await.unwrap();
    let status = stream(&mut client, vec![start(&id, None, None), data(b"new")]).await.unwrap_err();
    assert_eq!(field(&status), "commit");
    for wrong in [&b"ne"[..], b"newer"] {
        let pieces = vec![start(&id, None, Some(3)), data(wrong), COMMIT];
        let status = stream(&mut client, pieces).await.unwrap_err();
        assert_eq!(reason(&status), "CWSANDBOX_FILE_TRUNCATED");
    }
    assert_eq!(read(&mut client, &id, "/tmp/f").await.unwrap(), "old");
    stream(&mut client, vec![start(&id, Some(0o640), Some(3)), data(b"n"), data(b"ew"), COMMIT])
        .await
        .unwrap();
    let request = own::ReadFileRequest { sandbox_id: id, path: "/tmp/f".into() };
    let mut pieces = client.own.read_file(request).await.unwrap().into_inner();
    let mut read = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        read.push(piece.piece.unwrap());
    }
    let info = own::read_file_piece::Piece::Info(own::FileInfo { size: 3, mode: 0o640 });
    assert_eq!(read, [info, own::read_file_piece::Piece::Data(Bytes::from_static(b"new"))]);
}

#[tokio::test]
async fn messages_out_of_order_are_refused_by_field() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    for (pieces, expected) in [
        (vec![], "start"),
        (vec![data(b"x")], "start"),
        (vec![COMMIT], "start"),
        (vec![start(&id, None, None), start(&id, None, None)], "start"),
        (vec![start(&id, Some(0o10000), None), COMMIT], "start.mode"),
    ] {
        assert_eq!(field(&stream(&mut client, pieces).await.unwrap_err()), expected);
    }
}

#[tokio::test]
async fn a_directory_comes_out_and_goes_in_as_an_archive() {
    let daemon = Daemon::start().await;
    let mut client = daemon.client().await;
    let id = client.sandbox().await;
    write(&mut client, &id, "/tmp/from/a/b", "content").await.unwrap();
    let request = own::PackRequest { sandbox_id: id.clone(), path: "/tmp/from".into() };
    let mut packed = client.own.pack(request).await.unwrap().into_inner();
    let mut archive = Vec::new();
    while let Some(piece) = packed.message().await.unwrap() {
        archive.extend_from_slice(&piece.data);
    }
    let begin = own::UnpackStart { sandbox_id: id.clone(), path: "/tmp/to".into() };
    let pieces = [
        own::unpack_piece::Piece::Start(begin),
        own::unpack_piece::Piece::Data(archive.into()),
        own::unpack_piece::Piece::Commit(own::Commit {}),
    ];
    let pieces = pieces.map(|piece| own::UnpackPiece { piece: Some(piece) });
    client.own.unpack(futures::stream::iter(pieces)).await.unwrap();
    assert_eq!(read(&mut client, &id, "/tmp/to/a/b").await.unwrap(), "content");
}

//! A connection that speaks something else, or HTTP/2 for a while and then something else.

use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::world::World;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a client waits for an answer to nonsense.
const PATIENCE: Duration = Duration::from_millis(50);

pub(crate) async fn run(world: &World, rng: &mut Rng) {
    let mut stream = UnixStream::connect(&world.socket).await.expect("the daemon listens");
    let mut bytes = Vec::new();
    if rng.u8(0..4) > 0 {
        bytes.extend_from_slice(PREFACE);
        // An empty SETTINGS, which a client has to begin with.
        bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    }
    for _ in 0..rng.u8(0..20) {
        frame(&mut bytes, rng);
    }
    if rng.u8(0..4) == 0 {
        bytes.truncate(rng.usize(0..=bytes.len()));
    }
    // The daemon may hang up in the middle.
    let _ = timeout(PATIENCE, stream.write_all(&bytes)).await;
    let mut answer = [0; 4096];
    while let Ok(Ok(1..)) = timeout(PATIENCE, stream.read(&mut answer)).await {}
}

/// A frame of any type, flags and stream with any content, which may not be as long as it says.
fn frame(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let content: Vec<u8> = (0..rng.usize(0..64)).map(|_| rng.u8(..)).collect();
    let length = if rng.u8(0..10) == 0 { rng.u32(..) } else { content.len() as u32 };
    bytes.extend_from_slice(&length.to_be_bytes()[1..]);
    bytes.push(rng.u8(0..12));
    bytes.push(rng.u8(..));
    bytes.extend_from_slice(&rng.u32(0..8).to_be_bytes());
    bytes.extend_from_slice(&content);
}

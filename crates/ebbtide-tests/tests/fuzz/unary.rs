//! Every method with arbitrary bytes as its messages, well framed and badly.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;

use crate::call::framed;
use crate::message::Maker;
use crate::schema;
use crate::world::World;

pub(crate) async fn run(world: &World, rng: &mut Rng) {
    let mut connection = world.connection().await;
    let ids = world.ids().await;
    for _ in 0..rng.u8(1..6) {
        let method = &world.schema.methods[rng.usize(0..world.schema.methods.len())];
        let mut body = Vec::new();
        for _ in 0..if rng.u8(0..5) == 0 { rng.u8(0..4) } else { 1 } {
            let message = Maker { rng, ids: &ids }.bytes(&method.input());
            body.extend(framed(&message));
        }
        if rng.u8(0..8) == 0 {
            misframe(&mut body, rng);
        }
        let path = if rng.u8(0..40) == 0 { "/nobody/knows".to_owned() } else { schema::path(method) };
        let (upload, pending) = connection.begin(&path, rng);
        let pieces: Vec<Vec<u8>> =
            body.chunks(rng.usize(1..=body.len().max(1))).map(<[u8]>::to_vec).collect();
        let pause = Duration::from_millis(if rng.u8(0..10) == 0 { 5 } else { 0 });
        let send = async move {
            for piece in pieces {
                if !upload.send(piece).await {
                    break;
                }
                sleep(pause).await;
            }
        };
        if rng.u8(0..10) == 0 {
            // Given up while it is on its way.
            let patience = Duration::from_millis(rng.u64(0..30));
            let _ = tokio::time::timeout(patience, async { tokio::join!(send, pending.finish()) }).await;
        } else {
            let (answer, ()) = tokio::join!(pending.finish(), send);
            if let Some(0) = answer.status {
                world.learn(&answer).await;
            }
        }
    }
}

/// Changes a length, a flag, or cuts the end off.
fn misframe(body: &mut Vec<u8>, rng: &mut Rng) {
    match rng.u8(0..3) {
        0 => body.truncate(rng.usize(0..=body.len())),
        _ => {
            if let Some(byte) = body.get_mut(rng.usize(0..5)) {
                *byte = rng.u8(..);
            }
        }
    }
}

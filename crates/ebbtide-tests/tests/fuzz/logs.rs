//! StreamLogs: any request, to sandboxes that live, have ended or never were. Offsets count bytes exactly.

use ebbtide_proto::coreweave::sandbox::v1 as wire;
use fastrand::Rng;
use prost_reflect::prost::Message as _;

use crate::call::framed;
use crate::message::Maker;
use crate::world::World;

const PATH: &str = "/coreweave.sandbox.v1.SandboxService/StreamLogs";

pub(crate) async fn run(world: &World, rng: &mut Rng) {
    let mut connection = world.connection().await;
    let ids = world.ids().await;
    let mut session = (String::new(), 0);
    for _ in 0..rng.u8(1..6) {
        let mut request = wire::StreamLogsRequest {
            sandbox_id: if rng.u8(0..10) == 0 {
                Maker { rng, ids: &ids }.id()
            } else {
                world.speaker().to_owned()
            },
            follow: rng.bool(),
            ..Default::default()
        };
        match rng.u8(0..4) {
            0 => request.tail_lines = rng.i32(-1..40),
            1 => request.timestamps = true,
            2 => {
                request.resume_log_session_id = session.0.clone();
                request.resume_log_offset = if rng.bool() { session.1 } else { rng.u64(0..5000) };
            }
            _ => {}
        }
        let bytes = match rng.u8(0..4) {
            0 => Maker { rng, ids: &ids }.bytes(&world.schema.message("StreamLogsRequest")),
            _ => request.encode_to_vec(),
        };
        let (upload, pending) = connection.begin(PATH, rng);
        upload.send(framed(&bytes)).await;
        drop(upload);
        let answer = pending.finish().await;
        assert!(answer.status.is_some(), "the call was cut off");
        let mut at = None;
        for message in answer.messages {
            let entry = wire::LogEntry::decode(message).expect("an entry");
            let length = entry.data.len() as u64;
            if let Some(at) = at.filter(|_| length > 0) {
                assert_eq!(entry.next_log_offset, at + length, "offsets count bytes");
            }
            at = (length > 0).then_some(entry.next_log_offset);
            session = (entry.log_session_id, entry.next_log_offset);
        }
    }
}

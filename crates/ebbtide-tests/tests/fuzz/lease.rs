//! Hold: any messages in any order, and what its token is then good for. Whatever comes in, the lease is told first and
//! once, and after it heartbeats only.

use ebbtide_proto::ebbtide::v1 as own;
use fastrand::Rng;
use own::hold_request::Request as Wish;
use own::hold_response::Response as Said;
use prost_reflect::prost::Message as _;

use crate::call::framed;
use crate::message::Maker;
use crate::world::World;

const PATH: &str = "/ebbtide.v1.LeaseService/Hold";

pub(crate) async fn run(world: &World, rng: &mut Rng) {
    let mut connection = world.connection().await;
    let wishes: Vec<Vec<u8>> = (0..rng.u8(0..6)).map(|at| wish(world, rng, at)).collect();
    let (upload, pending) = connection.begin(PATH, rng);
    let keep_open = rng.bool();
    let send = async move {
        for wish in wishes {
            if !upload.send(framed(&wish)).await {
                return None;
            }
        }
        keep_open.then_some(upload)
    };
    let (answer, _upload) = tokio::join!(pending.finish(), send);
    assert!(answer.status.is_some(), "the call was cut off");
    for (at, bytes) in answer.messages.iter().enumerate() {
        match own::HoldResponse::decode(bytes.as_ref()).expect("a message").response {
            Some(Said::Held(held)) if at == 0 => world.learn_token(held.token),
            Some(Said::Heartbeat(_)) if at > 0 => {}
            other => panic!("{other:?} as answer {at}"),
        }
    }
}

fn wish(world: &World, rng: &mut Rng, at: u8) -> Vec<u8> {
    let heartbeat_seconds = if rng.u8(0..4) == 0 { rng.u32(..) } else { 0 };
    // Mostly what makes sense first, so that there is something that the rest can happen to.
    let wish = match if at == 0 && rng.u8(0..5) > 0 { rng.u8(0..2) } else { rng.u8(0..6) } {
        0 => Wish::Open(own::Open { label: "fuzz".to_owned(), heartbeat_seconds }),
        1 => Wish::Resume(own::Resume { token: world.token(rng), heartbeat_seconds }),
        2 | 3 => Wish::Heartbeat(own::Heartbeat {}),
        4 => Wish::Release(own::Release {}),
        _ => {
            let method = world.schema.methods.iter().find(|method| method.name() == "Hold");
            return Maker { rng, ids: &[] }.bytes(&method.expect("a method").input());
        }
    };
    own::HoldRequest { request: Some(wish) }.encode_to_vec()
}

//! An answer of one message that is too large to be kept in memory for every caller who asks for one.
//!
//! A generated service answers with whole messages. Where the message is nothing but the content of a file, whose length
//! is known, it can be written as the content comes: gRPC's five bytes, the field's key and length, the bytes. So a
//! client that does not read holds up the file and not the daemon's memory. The service answers with an empty message
//! and puts this beside it.

use std::sync::{Arc, Mutex, PoisonError};

use ebbtide_proto::bytes::{BufMut as _, Bytes, BytesMut};
use futures::{Stream, StreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Response};
use tonic::{Code, Status};

/// The body of an answer, until it takes the place of the empty one.
#[derive(Clone)]
pub(crate) struct LargeAnswer(Arc<Mutex<Option<Body>>>);

impl LargeAnswer {
    /// A message whose field with the number `tag` holds the pieces, `length` bytes in all. They must be that many.
    pub(crate) fn new(
        tag: u32,
        length: u64,
        pieces: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
    ) -> Self {
        let pieces = Box::pin(stream::iter([Ok(head(tag, length))]).chain(pieces));
        let frames = stream::unfold(Some(pieces), |pieces| async {
            let mut pieces = pieces?;
            let (frame, rest) = match pieces.next().await {
                Some(Ok(piece)) => (Frame::data(piece), Some(pieces)),
                Some(Err(status)) => (trailers(&status), None),
                None => (trailers(&Status::new(Code::Ok, "")), None),
            };
            Some((Ok::<_, Status>(frame), rest))
        });
        Self(Arc::new(Mutex::new(Some(Body::new(StreamBody::new(frames))))))
    }

    /// Puts the body of a large answer in its place, if there is one.
    pub(crate) fn place(mut response: Response<Body>) -> Response<Body> {
        if let Some(Self(body)) = response.extensions_mut().remove() {
            let body = body.lock().unwrap_or_else(PoisonError::into_inner).take();
            *response.body_mut() = body.unwrap_or_default();
        }
        response
    }
}

/// What stands before the content: nothing of a message where the content is empty.
fn head(tag: u32, length: u64) -> Bytes {
    let message = match length {
        0 => 0,
        _ => (key_len(tag) + encoded_len_varint(length)) as u64 + length,
    };
    let mut head = BytesMut::with_capacity(32);
    head.put_u8(0);
    // Never cut short: no message may be that long.
    head.put_u32(u32::try_from(message).unwrap_or(u32::MAX));
    if length > 0 {
        encode_key(tag, WireType::LengthDelimited, &mut head);
        encode_varint(length, &mut head);
    }
    head.freeze()
}

fn trailers(status: &Status) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    if let Err(status) = status.add_header(&mut trailers) {
        // The reason why it cannot be written down can be.
        let _ = status.add_header(&mut trailers);
    }
    Frame::trailers(trailers)
}

#[cfg(test)]
mod tests {
    use ebbtide_proto::coreweave::sandbox::v1::ReadFileResponse;
    use http_body_util::BodyExt as _;
    use prost::Message as _;

    use super::*;

    #[test]
    fn what_is_written_piece_by_piece_is_the_message() {
        for length in [0, 1, 127, 128, 70_000] {
            let message = ReadFileResponse { content: vec![7; length].into() }.encode_to_vec();
            let head = head(1, length as u64);
            assert_eq!(u32::from_be_bytes(head[1..5].try_into().unwrap()) as usize, message.len());
            assert_eq!(head[5..], message[..message.len() - length], "{length}");
        }
    }

    #[tokio::test]
    async fn nothing_is_read_before_somebody_takes_it_and_an_error_comes_last() {
        let read = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&read);
        let pieces = stream::iter(0..3).map(move |number| {
            *counted.lock().unwrap() += 1;
            if number < 2 { Ok(Bytes::from_static(b"abc")) } else { Err(Status::data_loss("it has shrunk")) }
        });
        let mut answer = Response::new(Body::empty());
        answer.extensions_mut().insert(LargeAnswer::new(1, 9, pieces));
        let mut body = LargeAnswer::place(answer).into_body();
        for already in [0, 1, 2] {
            let frame = body.frame().await.unwrap().unwrap();
            assert!(frame.is_data() && *read.lock().unwrap() == already);
        }
        let last = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(Status::from_header_map(&last).unwrap().code(), Code::DataLoss);
        assert!(body.frame().await.is_none());
    }
}

//! Those who connect and mean nothing good, or nothing at all.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use ebbtide_tests::Machine;

use crate::site::{Site, key};

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn half_open_connections_and_garbage_disturb_nobody() {
    let machine = Machine::take();
    let home = machine.home();
    let secret = key(&home, "one").secret;
    let site = Site::start(&home, &[]);
    let connect = || {
        let stream = TcpStream::connect(site.address()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    };
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut half_open: Vec<TcpStream> = (0..40).map(|_| connect()).collect();
    for (at, stream) in half_open.iter_mut().enumerate() {
        stream.write_all(&preface[..at % preface.len()]).unwrap();
    }
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..100 {
        let mut bytes = if round % 2 == 0 { preface.to_vec() } else { Vec::new() };
        let length = random.usize(1..20_000);
        bytes.extend(std::iter::repeat_with(|| random.u8(..)).take(length));
        let mut stream = connect();
        // It may be closed before all of it is written.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let ended = stream.read_to_end(&mut Vec::new());
        let timed_out = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!timed_out, "round {round}: garbage keeps its connection");
    }
    let ran = site.call(Some(&secret), ["run", "--", "echo", "hi"]).run();
    assert_eq!(ran.ok(), "hi");
    drop(half_open);
    site.end();
}

#[test]
fn the_log_of_refusals_is_short_however_many_there_are() {
    let machine = Machine::take();
    let home = machine.home();
    let _ = key(&home, "one");
    let site = Site::start(&home, &[]);
    let mut ask = TcpStream::connect(site.address()).unwrap();
    // The preface, empty settings, and then requests by HPACK's static table: GET http / with no key.
    ask.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").unwrap();
    for stream in 0..500_u32 {
        let id = (2 * stream + 1).to_be_bytes();
        ask.write_all(&[0, 0, 4, 1, 5, id[0], id[1], id[2], id[3], 0x82, 0x86, 0x84, 0x81]).unwrap();
    }
    let _ = site.call(Some("ebb_aaaaaaaa_a"), ["list"]).run().exited(125);
    let log = site.end_with_log();
    let refusals = log.matches("refused from the network").count();
    assert!((1..=3).contains(&refusals), "{refusals} lines:\n{log:.4000}");
}

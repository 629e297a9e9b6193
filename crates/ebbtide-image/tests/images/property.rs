//! Arbitrary streams: entries of few names, so that they meet; and bytes without sense.

use proptest::collection::vec;
use proptest::prelude::*;
use tar::EntryType;

use crate::tarball::{Tarball, header};
use crate::tree::Tree;

/// One entry: of any kind, with names that lead to, through and out of each other.
fn entry() -> impl Strategy<Value = (u8, String, String, u32, Vec<u8>)> {
    let part = prop::sample::select(vec![
        "a",
        "b",
        "c",
        "..",
        ".",
        "",
        "canary",
        ".wh.a",
        ".wh.b",
        ".wh..wh..opq",
        ".wh..",
        "proc",
        "\n",
    ]);
    let path = vec(part, 1..4).prop_map(|parts| parts.join("/"));
    let kind = prop::sample::select(b"0125367SLKxgV\0".to_vec());
    (kind, path.clone(), path, any::<u32>(), vec(any::<u8>(), 0..700))
}

fn stream(entries: &[(u8, String, String, u32, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Tarball::new();
    for (kind, name, link, number, content) in entries {
        let mut header =
            header(EntryType::new(*kind), name.as_bytes(), link.as_bytes(), content.len() as u64);
        header.set_mode(number & 0o7777);
        header.set_uid(u64::from(number >> 3));
        header.set_mtime(u64::from(*number) << 7);
        header.set_cksum();
        // Those without content would have it taken for the next header.
        let has_content = !matches!(kind, b'1'..=b'6');
        tar = tar.entry(&header, if has_content { content } else { b"" });
    }
    tar.end()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_entries_leaves_the_layer(entries in vec(entry(), 1..12)) {
        let _ = Tree::of(&stream(&entries)).result;
    }

    #[test]
    fn no_damage_to_a_stream_leaves_the_layer(
        entries in vec(entry(), 1..6),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut stream = stream(&entries);
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        stream.truncate(cut.index(stream.len() + 1));
        let _ = Tree::of(&stream).result;
    }
}

//! What the fuzzer has found to be of interest, once more.

#[path = "../../../../fuzz/seal.rs"]
mod seal;

use std::fs;
use std::path::Path;

use ebbtide_image::Limits;

use crate::tree::Tree;

#[test]
fn the_fuzzers_corpus_leaves_no_layer() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/unpack");
    let mut limits = Limits::default();
    limits.max_unpacked_bytes = 1 << 20;
    let (mut taken, mut refused) = (0, 0);
    for entry in fs::read_dir(corpus).unwrap() {
        let stream = seal::sealed(&fs::read(entry.unwrap().path()).unwrap());
        match Tree::within(&*stream, &limits).result {
            Ok(_) => taken += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(taken > 10 && refused > 10, "{taken} taken, {refused} refused: the corpus has little to say");
}

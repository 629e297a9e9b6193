//! Any bytes as a layer: unpacking never panics, and never reaches beside its directory.
//!
//! ```sh
//! cargo +nightly fuzz run unpack -- -max_total_time=600    # as root: layers have owners
//! ```
#![no_main]

#[path = "../seal.rs"]
mod seal;

use std::cell::OnceCell;
use std::fs;

use ebbtide_image::Limits;
use ebbtide_image::layer::unpack;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

const CONTENT: &str = "kept";

thread_local! {
    static AROUND: OnceCell<TempDir> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    AROUND.with(|around| {
        let around = around.get_or_init(|| TempDir::new().expect("a directory")).path();
        let (layer, canary) = (around.join("layer"), around.join("canary"));
        fs::create_dir(&layer).expect("the layer's directory");
        fs::create_dir_all(&canary).expect("the canary's directory");
        fs::write(canary.join("secret"), CONTENT).expect("the canary");
        let mut limits = Limits::default();
        limits.max_entries = 200;
        limits.max_unpacked_bytes = 1 << 20;
        limits.min_free_bytes = 1 << 20;
        let _ = unpack(&mut seal::sealed(data).as_slice(), &layer, &limits);
        assert_eq!(fs::read_to_string(canary.join("secret")).expect("the canary"), CONTENT);
        assert_eq!(fs::read_dir(&canary).expect("the canary").count(), 1);
        assert_eq!(fs::read_dir(around).expect("all").count(), 2);
        fs::remove_dir_all(&layer).expect("removing the layer");
    });
});

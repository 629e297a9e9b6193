//! Images of as many layers as others take at most.

use std::fs;

use ebbtide_tests::Machine;
use ebbtide_tests::image::{Compression, Layer, Meta};
use serde_json::json;

use crate::world::{load, system};

#[test]
fn an_image_of_127_layers_runs_and_shows_the_topmost_of_each_file() {
    let machine = Machine::take();
    let home = machine.home();
    let mut image = system("many", json!({}));
    let (dir, file) = (|| Meta::new(0o755), || Meta::new(0o644));
    for number in image.layers.len()..127 {
        let mut layer = Layer::new()
            .file(format!("own/{number}"), file(), "")
            .file("own/top", file(), format!("{number}\n"))
            .dir("both/", dir().of(number as u64, 0));
        if number == 60 {
            layer = layer.whiteout("own/50").opaque("etc");
        }
        image = image.layer(layer, Compression::None);
    }
    load(&home, &image, "example/many:1");
    // What one sandbox writes is its own, though the files of the layers have other names as well.
    for _ in 0..2 {
        let script = "cat /own/top; set -- /own/*; echo $#; ls -d /own/50 /etc/marker; ls /etc; \
                      echo mine >> /own/top; cat /own/top";
        let run = home.ebb(["run", "--image", "example/many:1", "--", "sh", "-c", script]).run();
        assert_eq!(run.text(), "126\n125\nhostname\nhosts\nresolv.conf\n126\nmine");
    }
    let layers = || fs::read_dir(home.state_dir().join("images/layers")).unwrap().count();
    assert_eq!(layers(), 127 + 2 + 1, "the layers, what goes around them, and all of them merged");
    home.shutdown();
    home.ebb(["image", "rm", "example/many:1"]).run().ok();
    home.ebb(["image", "gc"]).run().ok();
    assert_eq!(layers(), 2);
    machine.assert_nothing_left();
}

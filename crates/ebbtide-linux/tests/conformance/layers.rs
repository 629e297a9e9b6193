//! Roots of layers: what is seen of them, that they never change, and how long they are held.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ebbtide_driver::conformance::Harness;
use ebbtide_driver::{DriverError, ExecRequest, LayeredRoot};
use ebbtide_model::{Command, MountedFile};
use rustix::fs::{FlockOperation, XattrFlags, flock, setxattr};
use tokio::task::JoinSet;

use crate::home::Linux;
use crate::image::{busybox_of_host, make_dir, make_opaque, whiteout};
use crate::users::{Test, create, destroy, driver, output, plan, tests};

pub(crate) const TESTS: &[Test] = tests![
    images_of_1_20_and_127_layers_show_the_topmost_of_each_file,
    whiteouts_and_opaque_directories_take_effect,
    set_user_id_bits_and_file_capabilities_of_an_image_mean_nothing,
    layers_never_change_whatever_a_sandbox_does,
    an_image_is_held_until_the_last_init_on_it_has_ended,
    an_image_that_others_were_claimed_after_is_let_go,
    what_is_gone_or_too_much_is_refused_and_others_go_on,
    a_hundred_sandboxes_of_two_images_live_at_once,
    hosts_and_hostname_are_the_sandboxs_own_and_the_rest_the_images,
    no_path_of_a_command_leads_out_of_the_root,
];

/// An image of this many layers, each with a file of its own and one that all have.
pub(crate) fn stacked(linux: &Linux, count: usize) -> LayeredRoot {
    let names: Vec<String> = (1..count).map(|number| format!("layer-{number:020}")).collect();
    for (number, name) in names.iter().enumerate() {
        let layer = linux.images.layer(name);
        fs::write(layer.join(format!("own-{number}")), "").unwrap();
        fs::write(layer.join("top"), format!("{}\n", number + 1)).unwrap();
    }
    linux.images.image(&format!("stack-{count}"), &names.iter().map(String::as_str).collect::<Vec<_>>())
}

async fn images_of_1_20_and_127_layers_show_the_topmost_of_each_file(linux: &Linux) {
    let driver = driver(linux).await;
    for count in [1, 20, 127] {
        let plan = plan(&stacked(linux, count));
        create(&driver, &plan).await;
        let seen = output(&driver, &plan.id, "ls / | grep -c own-; cat /top 2>&1").await;
        let expected = match count {
            1 => "0\ncat: can't open '/top': No such file or directory\n".to_owned(),
            count => format!("{0}\n{0}\n", count - 1),
        };
        assert_eq!(seen, expected, "{count} layers");
        destroy(&driver, &plan.id).await;
    }
}

async fn whiteouts_and_opaque_directories_take_effect(linux: &Linux) {
    let (lower, upper) = (linux.images.layer("lower"), linux.images.layer("upper"));
    for path in ["hidden/below", "merged/below"] {
        make_dir(lower.join(path).parent().unwrap(), 0o755);
        fs::write(lower.join(path), "").unwrap();
        make_dir(upper.join(path).parent().unwrap(), 0o755);
        fs::write(upper.join(path).with_file_name("above"), "").unwrap();
    }
    fs::write(lower.join("gone"), "").unwrap();
    whiteout(&upper.join("gone"));
    make_opaque(&upper.join("hidden"));
    let driver = driver(linux).await;
    let plan = plan(&linux.images.image("whiteouts", &["lower", "upper"]));
    create(&driver, &plan).await;
    let seen = output(&driver, &plan.id, "ls /hidden; echo -; ls /merged; ls /gone 2>&1").await;
    assert_eq!(seen, "above\n-\nabove\nbelow\nls: /gone: No such file or directory\n");
    destroy(&driver, &plan.id).await;
}

/// A program for x86-64 that exits with its effective user id.
const EXIT_WITH_USER: [u8; 136] = {
    let mut elf = [0; 136];
    let parts: [(usize, &[u8]); 7] = [
        (0, b"\x7fELF\x02\x01\x01"),
        // An executable for x86-64; its entry; where the one program header is, and their sizes.
        (16, &[2, 0, 62, 0, 1, 0, 0, 0, 120, 0, 64]),
        (32, &[64]),
        (52, &[64, 0, 56, 0, 1]),
        // All of the file is loaded at 0x400000, to be read and executed.
        (64, &[1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 64]),
        (96, &[136, 0, 0, 0, 0, 0, 0, 0, 136, 0, 0, 0, 0, 0, 0, 0, 0, 16]),
        // geteuid, and exit with what it answers.
        (120, b"\xb8\x6b\0\0\0\x0f\x05\x89\xc7\xb8\x3c\0\0\0\x0f\x05"),
    ];
    let mut part = 0;
    while part < parts.len() {
        let (at, bytes) = parts[part];
        let mut byte = 0;
        while byte < bytes.len() {
            elf[at + byte] = bytes[byte];
            byte += 1;
        }
        part += 1;
    }
    elf
};
/// The value of `security.capability` for CAP_CHOWN, permitted and effective.
const CAN_CHOWN: [u8; 20] = [1, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

async fn set_user_id_bits_and_file_capabilities_of_an_image_mean_nothing(linux: &Linux) {
    let layer = linux.images.layer("rights");
    let (set_user_id, capable) = (layer.join("set-user-id"), layer.join("capable/busybox"));
    make_dir(&layer.join("capable"), 0o755);
    fs::write(&set_user_id, EXIT_WITH_USER).unwrap();
    fs::set_permissions(&set_user_id, fs::Permissions::from_mode(0o4755)).unwrap();
    fs::copy(busybox_of_host(), &capable).unwrap();
    setxattr(&capable, "security.capability", &CAN_CHOWN, XattrFlags::empty()).unwrap();
    let driver = driver(linux).await;
    let mut plan = plan(&linux.images.image("rights", &["rights"]));
    plan.user = Some("7".to_owned());
    create(&driver, &plan).await;
    let script =
        "/set-user-id; echo $?; stat -c %a /set-user-id; /capable/busybox grep CapEff /proc/self/status";
    assert_eq!(output(&driver, &plan.id, script).await, "7\n4755\nCapEff:\t0000000000000000\n");
    destroy(&driver, &plan.id).await;
}

/// What can be told of each file below a directory without reading it.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let data = path.symlink_metadata().unwrap();
        if data.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let times = (data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec());
        let told = (data.ino(), data.mode(), data.uid(), data.gid(), data.size(), times);
        seen.insert(path, format!("{told:?}"));
    }
    seen
}

async fn layers_never_change_whatever_a_sandbox_does(linux: &Linux) {
    let image = stacked(linux, 3);
    let before = snapshot(&linux.images.store());
    let driver = driver(linux).await;
    let plan = plan(&image);
    create(&driver, &plan).await;
    let script = "echo more >> /etc/group; chmod 777 /etc /bin/busybox; chown 1:1 /top; touch /own-0 /new; \
                  mv /own-1 /moved; mkdir /etc/new; ls -d /moved /new; rm -rf /bin /etc/passwd /top /tmp";
    assert_eq!(output(&driver, &plan.id, script).await, "/moved\n/new\n");
    destroy(&driver, &plan.id).await;
    let second = crate::users::plan(&image);
    create(&driver, &second).await;
    assert_eq!(output(&driver, &second.id, "cat /top; ls -d /moved /own-1 2>/dev/null").await, "2\n/own-1\n");
    destroy(&driver, &second.id).await;
    assert_eq!(snapshot(&linux.images.store()), before);
}

/// Whether somebody who wants to remove an image would get its lock.
fn is_free(image: &LayeredRoot) -> bool {
    flock(File::open(&image.hold).unwrap(), FlockOperation::NonBlockingLockExclusive).is_ok()
}

async fn becomes_free(image: &LayeredRoot) {
    let free = async {
        while !is_free(image) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), free).await.unwrap();
}

async fn an_image_is_held_until_the_last_init_on_it_has_ended(linux: &Linux) {
    linux.slots_ahead.store(0, Ordering::SeqCst);
    let image = linux.images.image("held", &[]);
    let first = driver(linux).await;
    let plans = [plan(&image), plan(&image)];
    assert!(is_free(&image));
    create(&first, &plans[0]).await;
    create(&first, &plans[1]).await;
    assert!(!is_free(&image));
    destroy(&first, &plans[0].id).await;
    drop(first);
    linux.kill_launcher();
    assert!(!is_free(&image), "held with daemon and launcher dead");
    assert!(linux.kill_init(&plans[1].id).await);
    becomes_free(&image).await;
    let next = driver(linux).await;
    destroy(&next, &plans[1].id).await;
}

async fn an_image_that_others_were_claimed_after_is_let_go(linux: &Linux) {
    let driver = driver(linux).await;
    let first = linux.images.image("image-0", &[]);
    for number in 0..5 {
        let plan = plan(&linux.images.image(&format!("image-{number}"), &[]));
        create(&driver, &plan).await;
        destroy(&driver, &plan.id).await;
    }
    becomes_free(&first).await;
    assert!(!is_free(&linux.images.image("image-4", &[])), "slots of the latest image are kept ahead");
}

async fn what_is_gone_or_too_much_is_refused_and_others_go_on(linux: &Linux) {
    let driver = driver(linux).await;
    let there = linux.images.image("there", &[]);
    let no_image = LayeredRoot { hold: linux.images.store().join("nosuch"), ..there.clone() };
    let no_layer = linux.images.image("no-layer", &["nosuch"]);
    let no_store = LayeredRoot { store: "/nosuch".into(), ..there.clone() };
    let removing = linux.images.image("removing", &[]);
    let lock = File::open(&removing.hold).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    for (image, said) in
        [(no_image, "nosuch"), (no_layer, "layers/nosuch"), (no_store, "/nosuch"), (removing, "removing")]
    {
        let error = driver.create(&plan(&image)).await.unwrap_err();
        let DriverError::ImageGone { missing } = error else { panic!("{image:?} answered with {error}") };
        assert!(missing.ends_with(said), "{missing}");
    }
    let deep = LayeredRoot { layers: vec!["programs".to_owned(); 600], ..there.clone() };
    let error = driver.create(&plan(&deep)).await.unwrap_err();
    let DriverError::AboveCeiling { asked: 600, available, .. } = error else { panic!("{error}") };
    assert!((130..=500).contains(&available), "{available}");
    let outside = LayeredRoot { layers: vec!["../layers/programs".to_owned()], ..there.clone() };
    assert!(matches!(driver.create(&plan(&outside)).await, Err(DriverError::Io { .. })));
    let plan = plan(&there);
    create(&driver, &plan).await;
    destroy(&driver, &plan.id).await;
    assert_eq!(driver.list().await.unwrap(), []);
}

async fn a_hundred_sandboxes_of_two_images_live_at_once(linux: &Linux) {
    let driver = driver(linux).await;
    let images = ["red", "blue"].map(|name| {
        fs::write(linux.images.layer(name).join("name"), name).unwrap();
        (name, linux.images.image(name, &[name]))
    });
    let mut making = JoinSet::new();
    for (name, image) in images.iter().cycle().take(100) {
        let (driver, plan, name) = (Arc::clone(&driver), plan(image), *name);
        making.spawn(async move {
            create(&driver, &plan).await;
            assert_eq!(output(&driver, &plan.id, "cat /name").await, name);
            plan.id
        });
    }
    let ids = making.join_all().await;
    assert_eq!(driver.list().await.unwrap().len(), 100);
    for id in ids {
        destroy(&driver, &id).await;
    }
    assert_eq!(driver.leftovers().await.unwrap(), []);
}

async fn hosts_and_hostname_are_the_sandboxs_own_and_the_rest_the_images(linux: &Linux) {
    // An image that brings files of its own there, and an /etc that leads away.
    let (elsewhere, own) = (linux.images.layer("elsewhere"), linux.images.layer("own"));
    std::os::unix::fs::symlink("/proc/1/root/etc", elsewhere.join("etc")).unwrap();
    make_dir(&own.join("etc"), 0o755);
    make_dir(&own.join("run"), 0o755);
    for path in ["etc/hosts", "etc/hostname", "etc/other", "run/kept"] {
        fs::write(own.join(path), "the image's\n").unwrap();
    }
    let driver = driver(linux).await;
    let mut plan = plan(&linux.images.image("names", &["elsewhere", "own"]));
    plan.main = Command::default();
    create(&driver, &plan).await;
    let name = format!("{}-{}", linux.config.home_id, plan.id);
    let script = "cat /etc/hostname /etc/hosts /etc/resolv.conf /etc/other /run/kept; hostname; ls /etc";
    let expected = format!(
        "{name}\n127.0.0.1 localhost {name}\n::1 localhost\nthe image's\nthe image's\n{name}\n\
         hostname\nhosts\nother\nresolv.conf\n"
    );
    assert_eq!(output(&driver, &plan.id, script).await, expected);
    destroy(&driver, &plan.id).await;
    for path in ["/etc/hosts", "/etc/other"] {
        let mut plan = crate::users::plan(&linux.images.image("names", &["elsewhere", "own"]));
        plan.files = vec![MountedFile::new(path, b"the request's\n".to_vec())];
        create(&driver, &plan).await;
        assert_eq!(output(&driver, &plan.id, &format!("cat {path}")).await, "the request's\n");
        destroy(&driver, &plan.id).await;
    }
}

/// Neither by what the runtime has open before a command is executed, nor by a link of the image to that.
async fn no_path_of_a_command_leads_out_of_the_root(linux: &Linux) {
    let links = linux.images.layer("links");
    for number in 3..40 {
        std::os::unix::fs::symlink(format!("/proc/self/fd/{number}"), links.join(format!("link-{number}")))
            .unwrap();
    }
    let driver = driver(linux).await;
    let plan = plan(&linux.images.image("links", &["links"]));
    create(&driver, &plan).await;
    for number in 3..40 {
        for path in [format!("/proc/self/fd/{number}"), format!("/link-{number}")] {
            let command = |program: &str| Command { argv: vec![program.to_owned()], ..Command::default() };
            let inside = Command { working_dir: Some(path.clone()), ..command("ls") };
            let program = command(&format!("{path}/../../../../../../bin/true"));
            for command in [inside, program] {
                let request = ExecRequest { command, stdin: false, terminal: None };
                let refused = driver.exec(&plan.id, request).await.map(drop);
                let expected = matches!(
                    refused,
                    Err(DriverError::WorkingDirectory { .. } | DriverError::CommandNotFound { .. })
                );
                assert!(expected, "{path}: {refused:?}");
            }
        }
    }
    destroy(&driver, &plan.id).await;
}

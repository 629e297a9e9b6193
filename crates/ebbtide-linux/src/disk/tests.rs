//! The pool against the real kernel: needs root, btrfs and loop devices.
//!
//! Each test runs in a child process with a mount namespace of its own, as the launcher does, so that what it mounts is gone
//! when it ends, however it ends.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use super::*;

const SIZE: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
const INSIDE: &str = "EBBTIDE_TEST_IN_NAMESPACE";
/// The pool's file, for a test that starts itself once more to crash with it.
const POOL: &str = "EBBTIDE_TEST_POOL";

/// Runs `body` in a mount namespace of its own, by starting this very test again under `unshare`.
fn in_namespace(test: &str, body: impl FnOnce()) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped, needs root: {test}");
        return;
    }
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let status = restarted(test).status().unwrap();
    assert!(status.success(), "{test}: {status}");
}

/// This very test in a new process with a mount namespace of its own.
fn restarted(test: &str) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--include-ignored", &format!("disk::tests::{test}")])
        .env(INSIDE, "1");
    command
}

/// Starts the test again to open a pool there, and to end as by a crash: nothing is unmounted in order.
fn crash_with_pool(test: &str, file: &Path) {
    let output = restarted(test).env(POOL, file).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{told}");
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn open(&self) -> Pool {
        self.try_open("pool").unwrap()
    }
    fn try_open(&self, mount: &str) -> Result<Pool, DiskError> {
        Pool::open(&self.file(), &self.0.path().join(mount), SIZE)
    }
    fn file(&self) -> PathBuf {
        self.0.path().join("pool.btrfs")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for mount in ["pool", "pool-2"] {
            let _ = rustix::mount::unmount(self.0.path().join(mount), rustix::mount::UnmountFlags::DETACH);
        }
    }
}

fn wait_until_let_go(file: &Path) {
    let file = File::open(file).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while loop_device::find(&file).unwrap().is_some() {
        assert!(Instant::now() < deadline, "the loop device is still bound");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// All bound loop devices whose backing file has this path, as sysfs tells.
fn bound_to(file: &Path) -> usize {
    let files = fs::read_dir("/sys/block").unwrap();
    files
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path().join("loop/backing_file")).ok())
        .filter(|backing| backing.trim_end() == file.to_str().unwrap())
        .count()
}

/// Writes as an unprivileged user until the kernel refuses or `bytes` are there; what was written and the last exit code.
fn fill(path: &Path, bytes: u64) -> (u64, bool) {
    let ok = Command::new("dd")
        .args(["if=/dev/zero", "bs=64k", "conv=fsync", "status=none", &format!("count={}", bytes >> 16)])
        .arg(format!("of={}", path.display()))
        .uid(4242)
        .gid(4242)
        .status()
        .unwrap()
        .success();
    (fs::metadata(path).map(|file| file.len()).unwrap_or(0), ok)
}

/// An overlay over an empty layer whose upper layer is in the subvolume, as a sandbox has it.
fn overlay(place: &Place, subvolume: &Subvolume) -> PathBuf {
    let directory = |name: &str, base: &Path| {
        let path = base.join(name);
        fs::create_dir_all(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(4242), Some(4242)).unwrap();
        path
    };
    let lower = directory("lower", place.0.path());
    fs::write(lower.join("below"), b"from the layer").unwrap();
    std::os::unix::fs::chown(lower.join("below"), Some(4242), Some(4242)).unwrap();
    let (upper, work) = (directory("upper", &subvolume.path), directory("work", &subvolume.path));
    let merged = directory("merged", place.0.path());
    let options = format!(
        "lowerdir={},upperdir={},workdir={},volatile",
        lower.display(),
        upper.display(),
        work.display()
    );
    rustix::mount::mount(
        "overlay",
        &merged,
        "overlay",
        MountFlags::empty(),
        std::ffi::CString::new(options).unwrap().as_c_str(),
    )
    .unwrap();
    // The directory above is the test's own, mode 0700.
    fs::set_permissions(place.0.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    merged
}

#[test]
fn a_subvolume_is_bounded_and_writable_again_after_removal() {
    in_namespace("a_subvolume_is_bounded_and_writable_again_after_removal", || {
        let place = Place::new();
        let mut pool = place.open();
        let subvolume = pool.create("slot-a", 64 * MIB).unwrap();
        let merged = overlay(&place, &subvolume);
        let (written, ok) = fill(&merged.join("big"), 200 * MIB);
        assert!(!ok && written > 40 * MIB && written <= 64 * MIB, "wrote {written}");
        // Small writes fail too, then the place can be made free from inside, even where that needs a whiteout.
        assert!(!fill(&merged.join("more"), 4 * MIB).1);
        let removed =
            Command::new("rm").args(["-f", "big", "more", "below"]).current_dir(&merged).uid(4242).status();
        assert!(removed.unwrap().success());
        assert_eq!(fill(&merged.join("again"), 32 * MIB), (32 * MIB, true));
        assert_eq!(fill(&merged.join("again"), 32 * MIB), (32 * MIB, true));
        pool.set_limit("slot-a", 128 * MIB).unwrap();
        assert_eq!(fill(&merged.join("again"), 96 * MIB), (96 * MIB, true));
        rustix::mount::unmount(&merged, rustix::mount::UnmountFlags::DETACH).unwrap();
        pool.destroy("slot-a").unwrap();
        assert!(!subvolume.path.exists());
    });
}

#[test]
fn one_full_subvolume_does_not_bound_another() {
    in_namespace("one_full_subvolume_does_not_bound_another", || {
        let place = Place::new();
        let mut pool = place.open();
        let paths: Vec<PathBuf> = ["slot-a", "slot-b"]
            .map(|name| {
                let path = pool.create(name, 32 * MIB).unwrap().path;
                std::os::unix::fs::chown(&path, Some(4242), Some(4242)).unwrap();
                path
            })
            .into();
        fs::set_permissions(place.0.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert!(!fill(&paths[0].join("file"), 64 * MIB).1);
        assert!(fill(&paths[1].join("file"), 24 * MIB).1);
    });
}

#[test]
fn destroyed_subvolumes_are_gone_and_unknown_ones_are_typed() {
    in_namespace("destroyed_subvolumes_are_gone_and_unknown_ones_are_typed", || {
        let place = Place::new();
        let mut pool = place.open();
        assert_eq!(pool.list().unwrap(), Vec::<String>::new());
        for name in ["a", "b"] {
            fs::write(pool.create(name, MIB * 8).unwrap().path.join("file"), b"x").unwrap();
        }
        let mut names = pool.list().unwrap();
        names.sort();
        assert_eq!(names, ["a", "b"]);
        pool.destroy("a").unwrap();
        assert_eq!(pool.list().unwrap(), ["b"]);
        assert!(matches!(pool.destroy("a"), Err(DiskError::NotFound { .. })));
        assert!(matches!(pool.set_limit("a", MIB), Err(DiskError::NotFound { .. })));
        assert!(
            matches!(pool.create("b", MIB), Err(DiskError::System(error)) if error.errno() == Some(libc::EEXIST))
        );
        for name in ["", "x/y", "..", &"n".repeat(256)] {
            assert!(pool.create(name, MIB).is_err(), "{name:?}");
        }
        assert_eq!(pool.list().unwrap(), ["b"]);
    });
}

#[test]
fn a_subvolume_in_use_can_be_destroyed() {
    in_namespace("a_subvolume_in_use_can_be_destroyed", || {
        let place = Place::new();
        let mut pool = place.open();
        let subvolume = pool.create("slot-a", 64 * MIB).unwrap();
        let merged = overlay(&place, &subvolume);
        assert!(fill(&merged.join("file"), MIB).1);
        pool.destroy("slot-a").unwrap();
        assert_eq!(pool.list().unwrap(), Vec::<String>::new());
        rustix::mount::unmount(&merged, rustix::mount::UnmountFlags::DETACH).unwrap();
        pool.create("slot-a", 64 * MIB).unwrap();
    });
}

#[test]
fn two_pools_are_mounted_at_once() {
    in_namespace("two_pools_are_mounted_at_once", || {
        let (one, two) = (Place::new(), Place::new());
        let (mut first, mut second) = (one.open(), two.open());
        assert_ne!(first.device(), second.device());
        fs::write(first.create("slot", 8 * MIB).unwrap().path.join("file"), b"one").unwrap();
        let other = second.create("slot", 8 * MIB).unwrap().path.join("file");
        assert!(!other.exists());
    });
}

#[test]
fn a_pool_in_use_is_mounted_again_through_the_same_device() {
    in_namespace("a_pool_in_use_is_mounted_again_through_the_same_device", || {
        let place = Place::new();
        let mut pool = place.open();
        fs::write(pool.create("slot-a", 8 * MIB).unwrap().path.join("file"), b"kept").unwrap();
        let mut again = place.try_open("pool-2").unwrap();
        assert_eq!(again.device(), pool.device());
        assert_eq!(bound_to(&place.file()), 1);
        assert_eq!(fs::read(place.0.path().join("pool-2/slot-a/file")).unwrap(), b"kept");
        assert_eq!(again.list().unwrap(), ["slot-a"]);
        again.create("slot-b", 8 * MIB).unwrap();
        again.destroy("slot-a").unwrap();
        assert_eq!(pool.list().unwrap(), ["slot-b"]);
    });
}

#[test]
fn mount_and_device_end_with_the_namespace_and_the_next_pool_is_empty() {
    let test = "mount_and_device_end_with_the_namespace_and_the_next_pool_is_empty";
    if let Some(file) = std::env::var_os(POOL).map(PathBuf::from) {
        let mut pool = Pool::open(&file, &file.with_file_name("pool"), SIZE).unwrap();
        assert_eq!(pool.list().unwrap(), Vec::<String>::new());
        pool.create("slot-a", 8 * MIB).unwrap();
        assert_eq!(bound_to(&file), 1);
        std::process::abort();
    }
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    for _ in 0..2 {
        crash_with_pool(test, &place.file());
        wait_until_let_go(&place.file());
    }
}

#[test]
fn a_damaged_file_without_users_is_made_anew() {
    in_namespace("a_damaged_file_without_users_is_made_anew", || {
        let place = Place::new();
        for rubbish in [Vec::new(), vec![0xa5; 300 << 10]] {
            fs::write(place.file(), rubbish).unwrap();
            let mut pool = place.open();
            pool.create("slot-a", 8 * MIB).unwrap();
            drop(pool);
            rustix::mount::unmount(place.0.path().join("pool"), rustix::mount::UnmountFlags::empty())
                .unwrap();
            wait_until_let_go(&place.file());
        }
        assert_eq!(place.open().list().unwrap(), Vec::<String>::new());
    });
}

#[test]
fn the_file_is_sparse_private_and_its_free_space_is_told() {
    in_namespace("the_file_is_sparse_private_and_its_free_space_is_told", || {
        let place = Place::new();
        let mut pool = place.open();
        let file = fs::metadata(place.file()).unwrap();
        assert_eq!((file.len(), file.mode() & 0o777), (SIZE, 0o600));
        assert!(file.blocks() * 512 < 16 * MIB);
        let before = pool.free_bytes().unwrap();
        assert!(before > SIZE / 2 && before <= SIZE, "{before}");
        let subvolume = pool.create("slot-a", 512 * MIB).unwrap();
        std::os::unix::fs::chown(&subvolume.path, Some(4242), Some(4242)).unwrap();
        fs::set_permissions(place.0.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert!(fill(&subvolume.path.join("file"), 256 * MIB).1);
        let after = pool.free_bytes().unwrap();
        assert!(before - after >= 256 * MIB && before - after < 300 * MIB, "{before} {after}");
        assert!(fs::metadata(place.file()).unwrap().blocks() * 512 >= 256 * MIB);
        fs::remove_file(subvolume.path.join("file")).unwrap();
        rustix::fs::sync();
        pool.trim().unwrap();
        assert!(fs::metadata(place.file()).unwrap().blocks() * 512 < 64 * MIB);
    });
}

#[test]
fn a_device_that_cannot_be_mounted_is_let_go() {
    in_namespace("a_device_that_cannot_be_mounted_is_let_go", || {
        let place = Place::new();
        fs::write(place.0.path().join("pool"), b"a file where the directory should be").unwrap();
        assert!(place.try_open("pool").is_err());
        let file = make(&place.file(), SIZE).unwrap();
        let device = loop_device::attach(&file).unwrap();
        assert!(mount(&device.path, Path::new("/nonexistent")).is_err());
        drop(device);
        wait_until_let_go(&place.file());
    });
}

#[test]
fn a_pool_is_no_larger_than_the_hosts_disk_and_tells_what_is_left() {
    in_namespace("a_pool_is_no_larger_than_the_hosts_disk_and_tells_what_is_left", || {
        let place = Place::new();
        let host = place.0.path().join("host");
        fs::create_dir(&host).unwrap();
        rustix::mount::mount("tmpfs", &host, "tmpfs", MountFlags::empty(), c"size=600m").unwrap();
        let mut pool = Pool::open(&host.join("pool.btrfs"), &place.0.path().join("pool"), SIZE).unwrap();
        // It promises no more than the host has, so that it cannot fill the host by itself.
        assert!(fs::metadata(host.join("pool.btrfs")).unwrap().len() < 600 * MIB);
        assert!(pool.free_bytes().unwrap() > 256 * MIB);
        // Somebody else takes the rest: the pool's own numbers do not show that, the host's do.
        assert!(!fill(&host.join("other"), 700 * MIB).1);
        assert!(pool.free_bytes().unwrap() < 16 * MIB);
        fs::remove_file(host.join("other")).unwrap();
        pool.create("slot-a", 64 * MIB).unwrap();
        drop(pool);
        rustix::mount::unmount(place.0.path().join("pool"), rustix::mount::UnmountFlags::DETACH).unwrap();
        wait_until_let_go(&host.join("pool.btrfs"));
        fill(&host.join("other"), 500 * MIB);
        let error = Pool::open(&host.join("pool.btrfs"), &place.0.path().join("pool"), SIZE).unwrap_err();
        assert!(matches!(error, DiskError::Full { .. }), "{error}");
        rustix::mount::unmount(&host, rustix::mount::UnmountFlags::DETACH).unwrap();
    });
}

#[test]
fn full_qgroups_bound_as_well() {
    in_namespace("full_qgroups_bound_as_well", || {
        let place = Place::new();
        let file = make(&place.file(), SIZE).unwrap();
        let device = loop_device::attach(&file).unwrap();
        let held = place.0.path().join("pool-2");
        fs::create_dir(&held).unwrap();
        let root = mount(&device.path, &held).unwrap();
        btrfs::enable_full_quota(root.as_fd()).unwrap();
        // Quotas stay as they are on a pool that has some.
        let mut pool = place.open();
        assert_eq!(pool.device(), device.path);
        let path = pool.create("slot-a", 32 * MIB).unwrap().path;
        std::os::unix::fs::chown(&path, Some(4242), Some(4242)).unwrap();
        fs::set_permissions(place.0.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert!(!fill(&path.join("file"), 64 * MIB).1);
        fs::remove_file(path.join("file")).unwrap();
        assert!(fill(&path.join("file"), 16 * MIB).1);
        for round in 0..100 {
            pool.create(&format!("slot-{round}"), 32 * MIB).unwrap();
            pool.destroy(&format!("slot-{round}")).unwrap();
        }
        pool.destroy("slot-a").unwrap();
    });
}

#[test]
fn a_pool_can_be_opened_the_moment_its_last_user_was_killed() {
    let test = "a_pool_can_be_opened_the_moment_its_last_user_was_killed";
    in_namespace(test, || {
        if let Some(file) = std::env::var_os(POOL).map(PathBuf::from) {
            let mut pool = Pool::open(&file, &file.with_file_name("pool"), SIZE).unwrap();
            if !pool.list().unwrap().is_empty() {
                pool.destroy("slot-b").unwrap();
            }
            let path = pool.create("slot-a", 64 * MIB).unwrap().path;
            fs::write(path.join("file"), vec![1; 1 << 20]).unwrap();
            std::process::abort();
        }
        let place = Place::new();
        for _ in 0..20 {
            crash_with_pool(test, &place.file());
            let mut pool = place.open();
            // Mounted again while it was on its way out, or made anew: both are right.
            for left in pool.list().unwrap() {
                pool.destroy(&left).unwrap();
            }
            pool.create("slot-b", 64 * MIB).unwrap();
            assert_eq!(bound_to(&place.file()), 1);
            drop(pool);
            rustix::mount::unmount(place.0.path().join("pool"), rustix::mount::UnmountFlags::DETACH).unwrap();
        }
    });
}

#[test]
fn a_host_without_loop_devices_is_unsupported_not_broken() {
    in_namespace("a_host_without_loop_devices_is_unsupported_not_broken", || {
        let place = Place::new();
        let hide = |path: &str| rustix::mount::mount_bind("/dev/null", path).unwrap();
        hide("/dev/loop-control");
        let error = place.try_open("pool").unwrap_err();
        assert!(matches!(error, DiskError::Unsupported { .. }), "{error}");
        // Blind to the device that may be bound already, so a second must not be made.
        rustix::mount::mount("tmpfs", "/sys/block", "tmpfs", MountFlags::empty(), None).unwrap();
        let error = place.try_open("pool").unwrap_err();
        assert!(
            matches!(&error, DiskError::Unsupported { missing, .. } if missing.contains("/sys/block")),
            "{error}"
        );
    });
}

/// A pool on a small host's disk, with that disk full.
fn on_a_full_disk(place: &Place) -> (PathBuf, Pool) {
    let host = place.0.path().join("host");
    fs::create_dir(&host).unwrap();
    rustix::mount::mount("tmpfs", &host, "tmpfs", MountFlags::empty(), c"size=600m").unwrap();
    let pool = Pool::open(&host.join("pool.btrfs"), &place.0.path().join("pool"), SIZE).unwrap();
    fill_host(&host);
    (host, pool)
}

/// Takes what is left of a file system.
fn fill_host(host: &Path) {
    let file = File::options().create(true).append(true).open(host.join("fill")).unwrap();
    let mut end = file.metadata().unwrap().len();
    for size in [64 * MIB, MIB, 4096] {
        while fallocate(&file, FallocateFlags::empty(), end, size).is_ok() {
            end += size;
        }
    }
}

#[test]
fn a_hosts_disk_that_is_full_for_a_while_does_not_end_the_pool() {
    in_namespace("a_hosts_disk_that_is_full_for_a_while_does_not_end_the_pool", || {
        let place = Place::new();
        let (host, mut pool) = on_a_full_disk(&place);
        for round in 0..3 {
            let subvolume = pool.create(&format!("slot-{round}"), 8 * MIB).unwrap();
            fs::create_dir(subvolume.path.join("d")).unwrap();
            pool.trim().unwrap();
            fill_host(&host);
            rustix::fs::syncfs(&pool.root).unwrap();
        }
        assert!(!pool.is_damaged());
        fs::remove_file(host.join("fill")).unwrap();
        fs::write(pool.mount_at.join("slot-0/d/file"), b"again").unwrap();
        rustix::fs::syncfs(&pool.root).unwrap();
    });
}

#[test]
fn a_pool_that_takes_no_writes_any_more_stays_with_its_users_and_another_takes_its_place() {
    let test = "a_pool_that_takes_no_writes_any_more_stays_with_its_users_and_another_takes_its_place";
    in_namespace(test, || {
        let place = Place::new();
        let (host, mut pool) = on_a_full_disk(&place);
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let file = File::options().write(true).open(&pool.file).unwrap();
        fallocate(&file, punch, RESERVED[0].0, RESERVED[0].1).unwrap();
        fill_host(&host);
        pool.create("slot-a", 8 * MIB).unwrap();
        rustix::fs::syncfs(&pool.root).unwrap_err();
        assert!(pool.is_damaged());
        fs::remove_file(host.join("fill")).unwrap();
        let mut next = Pool::open(&pool.file, &place.0.path().join("next"), SIZE).unwrap();
        assert_ne!(next.device(), pool.device());
        assert_eq!((next.is_damaged(), next.list().unwrap()), (false, Vec::new()));
        next.create("slot-b", 8 * MIB).unwrap();
        rustix::fs::syncfs(&next.root).unwrap();
    });
}

//! A pool with its file and its device, from the first opening on.

use std::os::unix::process::ExitStatusExt as _;

use super::*;

/// The pool's file, for a test that starts itself once more to crash with it.
const POOL: &str = "EBBTIDE_TEST_POOL";

/// Starts the test again to open a pool there, and to end as by a crash: nothing is unmounted in order.
fn crash_with_pool(test: &str, file: &Path) {
    let output = restarted(test).env(POOL, file).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{told}");
}

#[test]
fn two_pools_are_mounted_at_once() {
    in_namespace("pools::two_pools_are_mounted_at_once", || {
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
    in_namespace("pools::a_pool_in_use_is_mounted_again_through_the_same_device", || {
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
    let test = "pools::mount_and_device_end_with_the_namespace_and_the_next_pool_is_empty";
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
    in_namespace("pools::a_damaged_file_without_users_is_made_anew", || {
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
    in_namespace("pools::the_file_is_sparse_private_and_its_free_space_is_told", || {
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
    in_namespace("pools::a_device_that_cannot_be_mounted_is_let_go", || {
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
fn a_pool_can_be_opened_the_moment_its_last_user_was_killed() {
    let test = "pools::a_pool_can_be_opened_the_moment_its_last_user_was_killed";
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
    in_namespace("pools::a_host_without_loop_devices_is_unsupported_not_broken", || {
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

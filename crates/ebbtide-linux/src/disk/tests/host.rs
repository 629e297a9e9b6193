//! A host's disk that has no room for the pool any more.

use super::*;

#[test]
fn a_pool_is_no_larger_than_the_hosts_disk_and_tells_what_is_left() {
    in_namespace("host::a_pool_is_no_larger_than_the_hosts_disk_and_tells_what_is_left", || {
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
    in_namespace("host::a_hosts_disk_that_is_full_for_a_while_does_not_end_the_pool", || {
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
    let test = "host::a_pool_that_takes_no_writes_any_more_stays_with_its_users_and_another_takes_its_place";
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

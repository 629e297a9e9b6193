//! What one sandbox has of a pool, and its bounds.

use super::*;

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
    in_namespace("subvolumes::a_subvolume_is_bounded_and_writable_again_after_removal", || {
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
    in_namespace("subvolumes::one_full_subvolume_does_not_bound_another", || {
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
    in_namespace("subvolumes::destroyed_subvolumes_are_gone_and_unknown_ones_are_typed", || {
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
    in_namespace("subvolumes::a_subvolume_in_use_can_be_destroyed", || {
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
fn full_qgroups_bound_as_well() {
    in_namespace("subvolumes::full_qgroups_bound_as_well", || {
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

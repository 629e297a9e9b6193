//! Homes as they are made, found and removed.

use super::*;

fn location(dir: &Path) -> HomeLocation {
    HomeLocation::new(dir.join("home"), dir.join("run"))
}

fn resolve(variables: &[(&str, &str)], uid: u32) -> HomeLocation {
    let find =
        |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value));
    HomeLocation::resolve(find, uid).unwrap()
}

#[test]
fn each_user_has_a_place() {
    assert_eq!(resolve(&[], 0), HomeLocation::new("/var/lib/ebbtide", "/run/ebbtide"));
    assert_eq!(
        resolve(&[("EBBTIDE_HOME", "/a/b"), ("HOME", "/h")], 0),
        HomeLocation::new("/a/b", "/run/ebbtide")
    );
    assert_eq!(
        resolve(&[("HOME", "/h"), ("EBBTIDE_HOME", "")], 1000),
        HomeLocation::new("/h/.local/state/ebbtide", "/tmp/ebbtide-1000")
    );
    let xdg = [("XDG_STATE_HOME", "/s"), ("XDG_RUNTIME_DIR", "/run/user/7")];
    assert_eq!(resolve(&xdg, 7), HomeLocation::new("/s/ebbtide", "/run/user/7/ebbtide"));
    assert!(matches!(HomeLocation::resolve(|_| None, 7), Err(HomeError::NoPlace)));
}

#[test]
fn a_home_is_private_and_keeps_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let location = location(dir.path());
    assert_eq!(location.find().unwrap(), None);
    let home = location.open().unwrap();
    for path in [home.state_dir(), home.run_dir()] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
    }
    assert_eq!(location.open().unwrap(), home);
    assert_eq!(location.find().unwrap(), Some(home));
}

#[test]
fn many_first_openers_agree_on_one_id() {
    let dir = tempfile::tempdir().unwrap();
    let ids: Vec<String> = std::thread::scope(|scope| {
        let openers: Vec<_> =
            (0..16).map(|_| scope.spawn(|| location(dir.path()).open().unwrap().id().to_owned())).collect();
        openers.into_iter().map(|opener| opener.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let names: Vec<_> = fs::read_dir(dir.path().join("home")).unwrap().collect();
    assert_eq!(names.len(), 1, "drafts are left: {names:?}");
}

#[test]
fn a_directory_in_other_use_is_never_closed() {
    let dir = tempfile::tempdir().unwrap();
    let location = location(dir.path());
    fs::create_dir(location.state_dir()).unwrap();
    fs::set_permissions(location.state_dir(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(location.state_dir().join("precious"), "").unwrap();
    assert!(matches!(location.open(), Err(HomeError::NotAHome { .. })));
    fs::remove_file(location.state_dir().join("precious")).unwrap();
    let home = location.open().unwrap();
    assert_eq!(fs::metadata(home.state_dir()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_home_of_another_user_is_refused() {
    if !geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let location = location(dir.path());
    let home = location.open().unwrap();
    std::os::unix::fs::chown(home.run_dir(), Some(12345), None).unwrap();
    assert!(matches!(location.open(), Err(HomeError::ForeignOwner { owner: 12345, .. })));
    std::os::unix::fs::chown(home.state_dir(), Some(12345), None).unwrap();
    assert!(matches!(location.find(), Err(HomeError::ForeignOwner { owner: 12345, .. })));
}

#[test]
fn a_damaged_id_is_an_error_and_not_a_new_home() {
    let dir = tempfile::tempdir().unwrap();
    let location = location(dir.path());
    let home = location.open().unwrap();
    for damaged in ["", "short", "UPPERCAS", "../../etc"] {
        fs::write(home.state_dir().join("id"), damaged).unwrap();
        assert!(matches!(location.open(), Err(HomeError::CorruptId { .. })), "{damaged:?}");
    }
}

#[test]
fn the_run_directory_can_be_removed_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let home = location(dir.path()).open().unwrap();
    fs::write(home.start_lock(), "").unwrap();
    home.remove_run_dir().unwrap();
    assert!(!dir.path().join("run").exists());
    home.remove_run_dir().unwrap();
    home.ensure_run_dir().unwrap();
}

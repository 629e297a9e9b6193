//! Where everything of one daemon lives.
//!
//! State lies in one directory, sockets in a short run directory named by the home's id: a Unix socket's path
//! has 108 bytes, a home's path may have more. Both directories belong to the user and are closed to others,
//! since inside user namespaces a peer's credentials say nothing and the directory is the guard.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags};
use rustix::process::geteuid;
use thiserror::Error;

const ID_LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const ID_LENGTH: usize = 8;
/// How often making a run directory is tried again when another process removes its parent meanwhile.
const ATTEMPTS: usize = 10;

/// Why a home cannot be used.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum HomeError {
    /// The directory belongs to somebody else.
    #[error("{} belongs to user {owner}, not to you (user {caller}); set EBBTIDE_HOME to a directory of your own", path.display())]
    ForeignOwner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asks.
        caller: u32,
    },
    /// The directory holds other things, and is open to other users.
    #[error("{} is in use for something else and open to other users; set EBBTIDE_HOME to a new or empty directory", path.display())]
    NotAHome {
        /// The directory.
        path: PathBuf,
    },
    /// The path names something that is no directory.
    #[error("{} is not a directory; set EBBTIDE_HOME to a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The id file does not hold an id.
    #[error("{} does not hold the id of a home; if its sandboxes are gone (ebb doctor), remove the file", path.display())]
    CorruptId {
        /// The id file.
        path: PathBuf,
    },
    /// No place for a home is known for this user.
    #[error("there is no place for a home: neither EBBTIDE_HOME nor HOME is set; set EBBTIDE_HOME")]
    NoPlace,
    /// The kernel refused.
    #[error("cannot {step} {}: {source}", path.display())]
    Io {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: Arc<io::Error>,
    },
}

impl HomeError {
    pub(crate) fn io(step: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { step, path: path.to_owned(), source: Arc::new(source.into()) }
    }
}

/// Where a home would be, before anything is looked at or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeLocation {
    state_dir: PathBuf,
    run_base: PathBuf,
}

impl HomeLocation {
    /// Reads the location from the environment: `EBBTIDE_HOME`, else the default of this user.
    ///
    /// # Errors
    /// When neither the environment nor the user names a place.
    pub fn from_env() -> Result<Self, HomeError> {
        Self::resolve(|name| std::env::var_os(name).map(PathBuf::from), geteuid().as_raw())
    }

    /// A location given by hand.
    pub fn new(state_dir: impl Into<PathBuf>, run_base: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into(), run_base: run_base.into() }
    }

    fn resolve(variable: impl Fn(&str) -> Option<PathBuf>, uid: u32) -> Result<Self, HomeError> {
        let set = |name| variable(name).filter(|path| !path.as_os_str().is_empty());
        let xdg = |name| set(name).filter(|path| path.is_absolute());
        let state_dir = match set("EBBTIDE_HOME") {
            Some(path) => {
                std::path::absolute(&path).map_err(|error| HomeError::io("resolve", &path, error))?
            }
            None if uid == 0 => PathBuf::from("/var/lib/ebbtide"),
            None => xdg("XDG_STATE_HOME")
                .or_else(|| set("HOME").map(|home| home.join(".local/state")))
                .ok_or(HomeError::NoPlace)?
                .join("ebbtide"),
        };
        let run_base = if uid == 0 {
            PathBuf::from("/run/ebbtide")
        } else {
            xdg("XDG_RUNTIME_DIR")
                .map_or_else(|| PathBuf::from(format!("/tmp/ebbtide-{uid}")), |dir| dir.join("ebbtide"))
        };
        Ok(Self { state_dir, run_base })
    }

    /// The state directory.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The home that is there already; makes nothing.
    ///
    /// # Errors
    /// When the directory is there but cannot be this user's home.
    pub fn find(&self) -> Result<Option<Home>, HomeError> {
        match fs::metadata(&self.state_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(HomeError::io("look at", &self.state_dir, error)),
            Ok(metadata) => own_directory(&self.state_dir, &metadata)?,
        }
        Ok(read_id(&self.state_dir.join("id"))?.map(|id| self.with_id(id)))
    }

    /// The home, made if it is not there yet, with its run directory.
    ///
    /// # Errors
    /// When it cannot be made or cannot be this user's home.
    pub fn open(&self) -> Result<Home, HomeError> {
        private_directory(&self.state_dir)?;
        let id_file = self.state_dir.join("id");
        let id = match read_id(&id_file)? {
            Some(id) => id,
            None => write_id(&id_file)?,
        };
        let home = self.with_id(id);
        home.ensure_run_dir()?;
        Ok(home)
    }

    fn with_id(&self, id: String) -> Home {
        let run_dir = self.run_base.join(&id);
        Home { state_dir: self.state_dir.clone(), run_dir, id }
    }
}

/// A home: the state of one daemon, and where it can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    state_dir: PathBuf,
    run_dir: PathBuf,
    id: String,
}

impl Home {
    /// The home's id, part of every kernel name of its objects.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The directory of everything that outlives a restart of the machine.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The directory of the sockets.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("ebb.sock")
    }

    /// The lock that is held by whoever starts a daemon.
    pub fn start_lock(&self) -> PathBuf {
        self.run_dir.join("start.lock")
    }

    /// The lock that a daemon holds for its life; it holds the daemon's process id as text.
    pub fn daemon_lock(&self) -> PathBuf {
        self.state_dir.join("daemon.lock")
    }

    /// What a daemon that was started on first use says.
    pub fn daemon_log(&self) -> PathBuf {
        self.state_dir.join("daemon.log")
    }

    /// The optional configuration of the daemon.
    pub fn config(&self) -> PathBuf {
        self.state_dir.join("ebbtide.toml")
    }

    /// The API keys, without their secrets.
    pub fn keys(&self) -> PathBuf {
        self.state_dir.join("keys.json")
    }

    /// The ledger.
    pub fn ledger(&self) -> PathBuf {
        self.state_dir.join("ledger.db")
    }

    /// Makes the run directory if it is not there.
    ///
    /// # Errors
    /// When it cannot be made or belongs to another user.
    pub fn ensure_run_dir(&self) -> Result<(), HomeError> {
        let base = self.run_dir.parent().unwrap_or(Path::new("/"));
        let mode = if geteuid().is_root() { 0o755 } else { 0o700 };
        for attempt in 1.. {
            // The last home to go takes the base with it, so it may vanish between the two steps.
            make_directory(base, mode)?;
            match make_directory(&self.run_dir, 0o700) {
                Err(HomeError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => {}
                made => return made,
            }
        }
        Ok(())
    }

    /// Removes the run directory, and its parent if no other home uses it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_run_dir(&self) -> Result<(), HomeError> {
        match fs::remove_dir_all(&self.run_dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(HomeError::io("remove", &self.run_dir, error));
            }
            _ => {}
        }
        if let Some(base) = self.run_dir.parent() {
            // Not empty means that another home is there.
            let _ = fs::remove_dir(base);
        }
        Ok(())
    }
}

/// Makes one directory, or accepts the one that is there if it belongs to the caller.
fn make_directory(path: &Path, mode: u32) -> Result<(), HomeError> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(HomeError::io("make", path, error)),
    }
    // Not followed: in a directory that others can write to, a link could lead anywhere.
    let metadata = fs::symlink_metadata(path).map_err(|error| HomeError::io("look at", path, error))?;
    own_directory(path, &metadata)
}

fn own_directory(path: &Path, metadata: &Metadata) -> Result<(), HomeError> {
    if !metadata.is_dir() {
        return Err(HomeError::NotADirectory { path: path.to_owned() });
    }
    let caller = geteuid().as_raw();
    if metadata.uid() != caller {
        return Err(HomeError::ForeignOwner { path: path.to_owned(), owner: metadata.uid(), caller });
    }
    Ok(())
}

/// Makes the state directory, or closes the one that is there to others.
fn private_directory(path: &Path) -> Result<(), HomeError> {
    if let Err(error) = DirBuilder::new().mode(0o700).recursive(true).create(path)
        && !path.exists()
    {
        return Err(HomeError::io("make", path, error));
    }
    let metadata = fs::metadata(path).map_err(|error| HomeError::io("look at", path, error))?;
    own_directory(path, &metadata)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        // Closing a directory that serves another purpose (say `/`) would break the machine.
        if !holds_only_a_home(path)? {
            return Err(HomeError::NotAHome { path: path.to_owned() });
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(|error| HomeError::io("close to others", path, error))?;
    }
    Ok(())
}

fn holds_only_a_home(path: &Path) -> Result<bool, HomeError> {
    let mut empty = true;
    for entry in fs::read_dir(path).map_err(|error| HomeError::io("list", path, error))? {
        let name = entry.map_err(|error| HomeError::io("list", path, error))?.file_name();
        if name == "id" || name == "ebbtide.toml" {
            return Ok(true);
        }
        empty = false;
    }
    Ok(empty)
}

fn read_id(path: &Path) -> Result<Option<String>, HomeError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
        Err(error) => return Err(HomeError::io("read", path, error)),
    };
    let id = text.trim_end();
    if id.len() == ID_LENGTH && id.bytes().all(|byte| ID_LETTERS.contains(&byte)) {
        Ok(Some(id.to_owned()))
    } else {
        Err(HomeError::CorruptId { path: path.to_owned() })
    }
}

/// Writes a new id, or reads the one that another process wrote first.
fn write_id(path: &Path) -> Result<String, HomeError> {
    let id = random_id().map_err(|error| HomeError::io("read", Path::new("/dev/urandom"), error))?;
    let draft = path.with_file_name(format!(".id.{id}"));
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(format!("{id}\n").as_bytes()).and_then(|()| file.sync_all()));
    if let Err(error) = written {
        let _ = fs::remove_file(&draft);
        return Err(HomeError::io("write", &draft, error));
    }
    // Linked, not renamed over: the first one wins, and nobody ever sees half an id.
    match rustix::fs::renameat_with(CWD, &draft, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(id),
        Err(error) => {
            let _ = fs::remove_file(&draft);
            match read_id(path)? {
                Some(id) => Ok(id),
                None => Err(HomeError::io("write", path, error)),
            }
        }
    }
}

fn random_id() -> io::Result<String> {
    let mut bytes = [0; ID_LENGTH];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| char::from(ID_LETTERS[usize::from(byte % 32)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(dir: &Path) -> HomeLocation {
        HomeLocation::new(dir.join("home"), dir.join("run"))
    }

    fn resolve(variables: &[(&str, &str)], uid: u32) -> HomeLocation {
        let find = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value))
        };
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
            let openers: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| location(dir.path()).open().unwrap().id().to_owned()))
                .collect();
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
}

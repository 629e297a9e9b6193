//! Where everything of one daemon lives.
//!
//! State lies in one directory, sockets in a short run directory named by the home's id: a Unix socket's path
//! has 108 bytes, a home's path may have more. Both directories belong to the user and are closed to others,
//! since inside user namespaces a peer's credentials say nothing and the directory is the guard.

mod error;
mod id;
#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

pub use error::HomeError;

/// How often making a run directory is tried again when another process removes its parent meanwhile.
const ATTEMPTS: usize = 10;

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
        Ok(id::read(&self.state_dir.join("id"))?.map(|id| self.with_id(id)))
    }

    /// The home, made if it is not there yet, with its run directory.
    ///
    /// # Errors
    /// When it cannot be made or cannot be this user's home.
    pub fn open(&self) -> Result<Home, HomeError> {
        private_directory(&self.state_dir)?;
        let id_file = self.state_dir.join("id");
        let id = match id::read(&id_file)? {
            Some(id) => id,
            None => id::write(&id_file)?,
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

//! Images whose layers the tests write themselves, with busybox as their programs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use ebbtide_driver::LayeredRoot;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};

/// What the scripts of the kit and of these tests call.
const PROGRAMS: [&str; 25] = [
    "cat", "chmod", "chown", "echo", "false", "find", "grep", "head", "hostname", "id", "kill", "ls",
    "mkdir", "mv", "pwd", "rm", "seq", "sh", "sleep", "stat", "stty", "tail", "touch", "true", "wc",
];
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1001:A worker:/home/worker:/bin/sh\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &str = "root:x:0:\nworker:x:1001:\nextra:x:50:worker\nmore:x:51:root,worker\nnogroup:x:65534:\n";

/// A directory of layers and of what says that their images are there.
pub(crate) struct Images {
    dir: PathBuf,
}

impl Images {
    /// Writes what all images share: the bottom, the programs, the cover.
    pub(crate) fn new(dir: &Path) -> Self {
        let images = Self { dir: dir.to_owned() };
        let (base, programs, cover) = (images.layer("base"), images.layer("programs"), images.layer("cover"));
        for (name, mode) in [("tmp", 0o1777), ("run", 0o755), ("root", 0o700), ("etc", 0o755)] {
            make_dir(&base.join(name), mode);
        }
        for name in ["dev", "proc", "sys", "etc"] {
            make_dir(&cover.join(name), 0o755);
        }
        for name in ["hosts", "hostname", "resolv.conf"] {
            fs::write(cover.join("etc").join(name), "").unwrap();
        }
        for name in ["bin", "etc"] {
            make_dir(&programs.join(name), 0o755);
        }
        let busybox = programs.join("bin/busybox");
        fs::copy(busybox_of_host(), &busybox).unwrap();
        fs::set_permissions(&busybox, fs::Permissions::from_mode(0o755)).unwrap();
        for name in PROGRAMS.into_iter().chain(["test"]) {
            symlink("busybox", programs.join("bin").join(name)).unwrap();
        }
        for (path, text) in [("etc/passwd", PASSWD), ("etc/group", GROUP), ("ebbtide-image", "image\n")] {
            fs::write(programs.join(path), text).unwrap();
        }
        images
    }

    /// Where the layers are.
    pub(crate) fn store(&self) -> PathBuf {
        self.dir.join("layers")
    }

    /// The directory of a layer, which is made if it is not there.
    pub(crate) fn layer(&self, name: &str) -> PathBuf {
        let path = self.store().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// An image of the programs and these layers, the bottom first.
    pub(crate) fn image(&self, name: &str, layers: &[&str]) -> LayeredRoot {
        let hold = self.dir.join("images").join(name);
        fs::create_dir_all(self.dir.join("images")).unwrap();
        if !hold.exists() {
            fs::write(&hold, "").unwrap();
        }
        let all = ["base", "programs"].iter().chain(layers).chain(&["cover"]);
        LayeredRoot { store: self.store(), layers: all.map(|name| (*name).to_owned()).collect(), hold }
    }
}

/// Makes a directory of exactly these permissions.
pub(crate) fn make_dir(path: &Path, mode: u32) {
    fs::create_dir_all(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Says that a file of the layers below is not there.
pub(crate) fn whiteout(path: &Path) {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

/// Says that nothing of a directory in the layers below is there.
pub(crate) fn make_opaque(path: &Path) {
    setxattr(path, "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
}

/// A static busybox: beside this program, or the host's.
pub(crate) fn busybox_of_host() -> PathBuf {
    let beside = std::env::current_exe().unwrap().with_file_name("busybox");
    let found = [beside, PathBuf::from("/bin/busybox")].into_iter().find(|path| path.exists());
    found.unwrap_or_else(|| panic!("no busybox; install the package busybox-static"))
}

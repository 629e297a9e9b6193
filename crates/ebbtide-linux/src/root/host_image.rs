//! The image `host`: the host's own programs, by an allow-list, and nothing of its data.
//!
//! `/usr` is shown as it is, read-only. Everything else is a skeleton written once: the links that lead into `/usr`,
//! empty directories, and those files of `/etc` that programs need to run. A file of `/etc` gets in only if its
//! name is listed and everybody on the host may read it; users and groups are our own.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::Layers;
use crate::sys_error::SysError;

/// Raised when the skeleton's content changes.
const FORMAT: u32 = 3;

const TOP: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
const DIRECTORIES: [(&str, u32); 20] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/local", 0o755),
    ("var/log", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
];
const ETC: [&str; 33] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "debian_version",
    "fonts",
    "gai.conf",
    "host.conf",
    "inputrc",
    "java-17-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "login.defs",
    "magic",
    "magic.mime",
    "mime.types",
    "nanorc",
    "nsswitch.conf",
    "os-release",
    "pki",
    "profile",
    "profile.d",
    "protocols",
    "python3",
    "python3.11",
    "services",
    "shells",
    "ssl",
    "terminfo",
];
const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n";
const MAX_FILE: u64 = 8 << 20;
const MAX_DEPTH: u32 = 8;

/// The layers of the image `host`; the skeleton is kept below `dir` and written if it is absent or outdated.
pub(crate) fn host_layers(dir: &Path) -> Result<Layers, SysError> {
    let name = stamp();
    let skeleton = dir.join(&name);
    if !skeleton.exists() {
        write_skeleton(dir, &skeleton)?;
    }
    let shown = ["usr"].into_iter().chain(TOP).map(|name| (name.to_owned(), Path::new("/").join(name)));
    let shown = shown.filter(|(_, path)| path.symlink_metadata().is_ok_and(|meta| meta.is_dir())).collect();
    Ok(Layers { store: dir.to_owned(), names: vec![name], shown })
}

/// Names the skeleton by what it is made of, so that a change of the host makes a new one.
fn stamp() -> String {
    let mtime = |name: &&str| Path::new("/etc").join(name).symlink_metadata().map_or(0, |meta| meta.mtime());
    let sum = ETC.iter().map(mtime).fold(0xcbf2_9ce4_8422_2325_u64, |hash, time| {
        (hash ^ time as u64).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("v{FORMAT}-{sum:016x}")
}

fn write_skeleton(dir: &Path, skeleton: &Path) -> Result<(), SysError> {
    let unfinished = dir.join("unfinished");
    let step =
        |error: io::Error| SysError::new(format!("write the host image at {}", unfinished.display()), error);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(step)?;
    }
    fs::create_dir_all(&unfinished).map_err(step)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o755)).map_err(step)?;
    fill(&unfinished).map_err(step)?;
    fs::rename(&unfinished, skeleton).map_err(step)
}

fn fill(root: &Path) -> io::Result<()> {
    for (name, mode) in DIRECTORIES {
        let path = root.join(name);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    for name in TOP {
        match fs::symlink_metadata(Path::new("/").join(name)) {
            Ok(meta) if meta.is_symlink() => {
                symlink(fs::read_link(Path::new("/").join(name))?, root.join(name))?
            }
            Ok(meta) if meta.is_dir() => fs::create_dir(root.join(name))?,
            _ => {}
        }
    }
    symlink("/run", root.join("var/run"))?;
    let etc = root.join("etc");
    for name in ETC {
        copy(&Path::new("/etc").join(name), &etc.join(name), 0)?;
    }
    // The empty ones are places for what each sandbox has of its own.
    for (name, text) in
        [("passwd", PASSWD), ("group", GROUP), ("hosts", ""), ("hostname", ""), ("resolv.conf", "")]
    {
        fs::write(etc.join(name), text)?;
    }
    Ok(())
}

/// Copies what everybody may read; what is not there or not readable is left out.
fn copy(from: &Path, to: &Path, depth: u32) -> io::Result<()> {
    let Ok(meta) = from.symlink_metadata() else { return Ok(()) };
    if meta.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    let readable = meta.mode() & 0o004 != 0;
    if meta.is_file() && readable && meta.len() <= MAX_FILE {
        fs::copy(from, to)?;
        fs::set_permissions(to, fs::Permissions::from_mode(meta.mode() & 0o755))?;
    } else if meta.is_dir() && readable && depth < MAX_DEPTH {
        fs::create_dir(to)?;
        fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
        let entries: Vec<PathBuf> = fs::read_dir(from)?.flatten().map(|entry| entry.path()).collect();
        for entry in entries {
            if let Some(name) = entry.file_name() {
                copy(&entry, &to.join(name), depth + 1)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_skeleton_holds_no_secret_and_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let layers = host_layers(dir.path()).unwrap();
        let root = &layers.store.join(&layers.names[0]);
        for absent in
            ["etc/shadow", "etc/ssh", "etc/ssl/private", "etc/sudoers", "etc/gshadow", "etc/machine-id"]
        {
            assert!(root.join(absent).symlink_metadata().is_err(), "{absent}");
        }
        for empty in ["root", "home", "run", "var/lib", "tmp"] {
            assert_eq!(fs::read_dir(root.join(empty)).unwrap().count(), 0, "{empty}");
        }
        assert_eq!(fs::read_to_string(root.join("etc/passwd")).unwrap(), PASSWD);
        let written = root.metadata().unwrap().ino();
        assert_eq!(
            host_layers(dir.path()).unwrap().store.join(&layers.names[0]).metadata().unwrap().ino(),
            written
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

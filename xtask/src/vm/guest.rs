//! The Debian inside: a root made once with two kernels, and a script that it runs at start.
//!
//! The root knows nothing of what is tested. Its only unit of ours mounts the second disk and runs the script on
//! it, so a change of the tests never means a new root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::{Error, process, workspace};

/// Raised with every change of the recipe below, so that an old root is not used for a new one.
const RECIPE: &str = "root-2";

const PACKAGES: &str =
    "systemd,systemd-sysv,udev,kmod,procps,initramfs-tools,linux-image-cloud-amd64,python3-minimal";

/// The unit that runs the script on the second disk, with its output on the second serial port, and ends the machine
/// afterwards. It is the command that ends it, so that a script can also have the machine started anew.
const UNIT: &str = "\
[Unit]
Description=What the virtual machine is started for
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mount -o ro /dev/vdb /mnt && /mnt/run; systemctl --force poweroff'
StandardOutput=tty
StandardError=inherit
TTYPath=/dev/ttyS1

[Install]
WantedBy=default.target
";

/// What runs inside: the scenario that the kernel's command line names, with the third disk, if there is one, at /state.
/// It ends with a line that tells whoever reads the serial port how it went.
const SCRIPT: &str = r#"#!/bin/sh
scenario=$(sed -n 's/.*ebbtide\.run=\([a-z,]*\).*/\1/p' /proc/cmdline | tr , ' ')
echo "fact kernel $(uname -r)"
echo "fact cgroups $(stat -fc %T /sys/fs/cgroup), controllers $(cat /sys/fs/cgroup/cgroup.controllers)"
echo "fact init $(systemctl --version | head -n 1)"
for module in overlay btrfs loop; do modprobe $module || echo "module $module is missing"; done
export EBB_BIN=/mnt/ebb EBB_FAIL_POINTS_BIN=/mnt/ebb-fail-points
export RUST_BACKTRACE=1 TERM=dumb NO_COLOR=1 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
if [ "$scenario" = conformance ]; then
  /mnt/conformance --test-threads=1 --nocapture --color=never 2>&1
else
  mkdir -p /state && mount /dev/vdc /state && /mnt/guest $scenario 2>&1
fi
echo "result $?"
"#;

/// The Debian root and the disk made of it.
pub(crate) struct Guest {
    root: PathBuf,
    /// The disk with the root file system.
    pub(crate) disk: PathBuf,
}

/// A kernel in the root.
pub(crate) struct Kernel {
    /// Its version, as `uname -r` says it.
    pub(crate) version: String,
    /// The kernel.
    pub(crate) image: PathBuf,
    /// Its initial file system.
    pub(crate) initrd: PathBuf,
}

impl Guest {
    /// Makes the root and its disk, unless they are there.
    pub(crate) fn prepare(directory: &Path) -> Result<Self, Error> {
        let guest = Self { root: directory.join(RECIPE), disk: directory.join(format!("{RECIPE}.img")) };
        if !guest.disk.exists() {
            let fresh = directory.join(format!("{RECIPE}.new"));
            workspace::remove_dir(&fresh)?;
            workspace::remove_dir(&guest.root)?;
            bootstrap(&fresh)?;
            let unit = fresh.join("etc/systemd/system/ebbtide-vm.service");
            fs::write(&unit, UNIT).map_err(Error::file("could not write", &unit))?;
            let root = fresh.to_string_lossy().into_owned();
            process::run(&mut process::command(
                "chroot",
                [&root, "systemctl", "enable", "ebbtide-vm.service"],
            ))?;
            fs::rename(&fresh, &guest.root).map_err(Error::file("could not rename", &fresh))?;
            // Sparse, and roomy: the disk pool sets space aside for each sandbox.
            make_disk(&guest.root, &guest.disk, "16G")?;
        }
        Ok(guest)
    }

    /// The kernels of the version `only`, e.g. 6.1, or all.
    pub(crate) fn kernels(&self, only: Option<&str>) -> Result<Vec<Kernel>, Error> {
        let boot = self.root.join("boot");
        let entries = fs::read_dir(&boot).map_err(Error::file("could not read", &boot))?;
        let mut kernels: Vec<Kernel> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("vmlinuz-").map(str::to_owned))
            .filter(|version| only.is_none_or(|only| is_of(version, only)))
            .map(|version| Kernel {
                image: boot.join(format!("vmlinuz-{version}")),
                initrd: boot.join(format!("initrd.img-{version}")),
                version,
            })
            .collect();
        kernels.sort_by(|a, b| a.version.cmp(&b.version));
        Ok(kernels)
    }
}

/// Whether a kernel's version begins with the numbers of `wanted`: 6.1.0-56 is of 6.1, 6.12.95 is not.
fn is_of(version: &str, wanted: &str) -> bool {
    version.strip_prefix(wanted).is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}

/// The stable kernel comes with the release, a newer one from its backports as long as the mirror has it.
fn bootstrap(root: &Path) -> Result<(), Error> {
    let newer = "chroot \"$1\" apt-get install --yes --no-install-recommends --target-release=bookworm-backports \
                 linux-image-cloud-amd64 || echo 'no newer kernel to be had'";
    let path = root.to_string_lossy();
    process::run(&mut process::command(
        "mmdebstrap",
        [
            "--variant=minbase",
            &format!("--include={PACKAGES}"),
            "--aptopt=APT::Install-Recommends \"false\"",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            &format!("--customize-hook={newer}"),
            "bookworm",
            &path,
            "deb http://deb.debian.org/debian bookworm main",
            "deb http://deb.debian.org/debian-security bookworm-security main",
            "deb http://deb.debian.org/debian bookworm-backports main",
        ],
    ))
}

/// Writes the script that runs inside.
pub(crate) fn write_script(path: &Path) -> Result<(), Error> {
    fs::write(path, SCRIPT).map_err(Error::file("could not write", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .map_err(Error::file("could not change", path))
}

/// Makes an ext4 disk with the contents of a directory; the file appears only when it is whole.
pub(crate) fn make_disk(contents: &Path, disk: &Path, size: &str) -> Result<(), Error> {
    let fresh = disk.with_extension("unfinished");
    if fresh.exists() {
        fs::remove_file(&fresh).map_err(Error::file("could not remove", &fresh))?;
    }
    if let Some(parent) = disk.parent() {
        workspace::make_dir(parent)?;
    }
    let (from, to) = (contents.to_string_lossy(), fresh.to_string_lossy());
    process::run(&mut process::command("mke2fs", ["-q", "-t", "ext4", "-d", &from, &to, size]))?;
    fs::rename(&fresh, disk).map_err(Error::file("could not rename", &fresh))
}

#[cfg(test)]
mod tests {
    use super::is_of;

    #[test]
    fn a_version_is_told_by_whole_numbers() {
        assert!(is_of("6.1.0-56-cloud-amd64", "6.1") && is_of("6.12.95+deb12", "6.12.95"));
        assert!(!is_of("6.12.95+deb12", "6.1"));
    }
}

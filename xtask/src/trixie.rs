//! The wheel in another Debian than this one: Debian 13, with its Python 3.13 and its C library.
//!
//! It is no container: processes, network and control groups are the machine's own. Only the file system is the other
//! Debian's, in a mount namespace that goes with the last process in it. Its root is changed by `pivot_root`, because
//! the kernel refuses new user namespaces, which sandboxes are, to whoever lives in a `chroot`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::apt::{self, Need};
use crate::workspace::{self, Workspace};
use crate::{Error, process};

/// Raised with every change of what is in it, so that an old root is not used for a new one.
const RECIPE: &str = "trixie-1";

const PACKAGES: &str = "python3,python3-venv,mount";

const NEEDS: [Need; 1] = [Need { file: "/usr/bin/mmdebstrap", package: "mmdebstrap" }];

/// Enters the root that is its argument. The sandboxes' claims of user ids are in /run, which so must be the machine's.
const ENTER: &str = r#"set -eu
mount --bind "$1" "$1"
cd "$1"
for kernel in dev proc run sys; do mount --rbind "/$kernel" "$kernel"; done
pivot_root . mnt
cd /
umount --lazy /mnt
exec env --ignore-environment PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 sh -eu /proof/run
"#;

/// What happens inside.
const PROOF: &str = r#"
. /etc/os-release
echo "$PRETTY_NAME, $(python3 --version), $(ldd --version | sed -n 's/^ldd.* /glibc /p')"
python3 -m venv --clear /proof/environment
PATH=/proof/environment/bin:$PATH
export EBBTIDE_HOME=/proof/home
trap 'ebb shutdown' EXIT
pip install --quiet --no-index /proof/*.whl
sed -n '/^```python$/,/^```$/{/^```/!p}' /proof/README.md > /proof/quick_start.py
said=$(python3 /proof/quick_start.py)
echo "$said"
test "$said" = hello
ebb run -- grep -q trixie /etc/os-release
ebb doctor
"#;

/// Installs the wheel there and runs the quick start.
pub(crate) fn prove(workspace: &Workspace, wheel: &Path) -> Result<(), Error> {
    let root = root(workspace)?;
    let proof = root.join("proof");
    workspace::make_empty_dir(&proof)?;
    let place = |from: &Path| {
        let name = from.file_name().unwrap_or_default();
        fs::copy(from, proof.join(name)).map_err(Error::file("could not copy", from))
    };
    place(wheel)?;
    place(&workspace.root.join("python/README.md"))?;
    let script = proof.join("run");
    fs::write(&script, PROOF).map_err(Error::file("could not write", &script))?;
    let enter =
        ["--kill-after=10", "300", "unshare", "--mount", "--propagation=private", "sh", "-c", ENTER, "sh"];
    process::run(process::command("timeout", enter).arg(&root))?;
    workspace::remove_dir(&proof)
}

/// The other Debian, made if it is not there.
fn root(workspace: &Workspace) -> Result<PathBuf, Error> {
    apt::install(&NEEDS)?;
    let directory = workspace.target.join("wheel");
    let root = directory.join(RECIPE);
    if !root.exists() {
        let fresh = directory.join(format!("{RECIPE}.new"));
        workspace::make_empty_dir(&fresh)?;
        let include = format!("--include={PACKAGES}");
        let mut mmdebstrap = process::command("mmdebstrap", ["--variant=essential", &include]);
        mmdebstrap.args(["--aptopt=APT::Install-Recommends \"false\"", "trixie"]);
        process::run(mmdebstrap.arg(&fresh).arg("deb http://deb.debian.org/debian trixie main"))?;
        fs::rename(&fresh, &root).map_err(Error::file("could not rename", &fresh))?;
    }
    Ok(root)
}

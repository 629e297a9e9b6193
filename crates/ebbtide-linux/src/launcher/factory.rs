//! Making a slot: every kernel object of a sandbox that does not depend on a request.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use ebbtide_driver::RootImage;
use ebbtide_model::EffectiveResources;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with, socketpair,
};

use super::roots::SlotRoot;
use super::server::Launcher;
use super::slots::Slot;
use crate::ids::{IdRange, RANGE};
use crate::init::{self, HostInit, Inheritance, Roots};
use crate::protocol::{self, Refusal};
use crate::root::{self, Layers, Root, RootError, UpperDirs};
use crate::run_record::RunRecord;
use crate::slot::{SlotFile, new_slot_name};
use crate::sys::{CloneFlags, Cloned, clone};
use crate::sys_error::{Step, SysError};

impl Launcher {
    /// Begins a slot; it is ready once its init says so. What a failure has made is released.
    pub(super) fn make_slot(&mut self, root: &Rc<SlotRoot>) -> Result<Slot, Refusal> {
        let hold = match &root.image {
            RootImage::Host => None,
            RootImage::Layers(image) => Some(root::hold(&image.hold)?),
        };
        let mut slot = match self.shells.pop() {
            Some(shell) => Slot { ids: Some(shell.ids), keeps_disk: shell.disk, ..Slot::new(shell.name) },
            None => Slot::new(new_slot_name()),
        };
        slot.root = Some(Rc::clone(root));
        match self.fill_slot(&mut slot, root, hold) {
            Ok(()) => Ok(slot),
            Err(refusal) => {
                self.abandon(slot);
                Err(refusal)
            }
        }
    }

    fn fill_slot(&mut self, slot: &mut Slot, root: &SlotRoot, hold: Option<File>) -> Result<(), Refusal> {
        let place = if slot.keeps_disk {
            self.disk.place(&slot.name)
        } else {
            self.disk.create(&slot.name, EffectiveResources::default().disk_bytes)?
        };
        self.make_objects(slot, &UpperDirs::at(&place), root, hold)
    }

    fn make_objects(
        &mut self,
        slot: &mut Slot,
        upper: &UpperDirs,
        root: &SlotRoot,
        hold: Option<File>,
    ) -> Result<(), Refusal> {
        let name = slot.name.clone();
        let ids = match slot.ids.take() {
            Some(ids) => ids,
            None => self.fresh_shell(&name)?,
        };
        let uid = ids.base();
        let id_lock = ids.lock().map(File::try_clone).transpose();
        slot.ids = Some(ids);
        let id_lock = id_lock.step(|| "share the lock of the user ids")?;
        let record = File::options().create(true).truncate(false).write(true).open(self.dirs.record(&name));
        let record = record.step(|| "make the run record")?;
        RunRecord::Empty.write(&record).step(|| "write the run record")?;
        let listener = listen_at(&self.dirs.socket(&name))?;
        let cgroups = self.cgroups.make(&name, uid)?;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .step(|| "make a socket pair")?;

        let pulse = self.pulse.read.try_clone().step(|| "share a pipe")?;
        let host_init = HostInit::open();
        let init_cgroup = cgroups.init.try_clone().step(|| "share a cgroup")?;
        let pid =
            match clone(CloneFlags::SANDBOX, Some(init_cgroup.as_fd())).step(|| "make the namespaces")? {
                Cloned::Child => init::run(Inheritance {
                    launcher: theirs,
                    pulse,
                    host_init,
                    listener,
                    record,
                    cgroups,
                    id_lock,
                    image: hold,
                    filter: Arc::clone(&self.filter),
                    stage: self.stage.clone(),
                }),
                Cloned::Parent { pid, pidfd } => {
                    slot.pidfd = Some(pidfd);
                    pid
                }
            };
        drop(theirs);
        let map = format!("0 {uid} {RANGE}");
        for file in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{pid}/{file}"), &map).step(|| format!("write the {file} of {name}"))?;
        }
        if !slot.keeps_disk {
            upper.make(uid)?;
        }
        self.hand_over_root(&root.layers, upper, pid, &ours)?;
        slot.stamp = upper.stamp().ok();
        slot.handshake = Some(ours);
        Ok(())
    }

    /// Makes the run directory and claims the user ids of a slot that takes over none, and notes both.
    fn fresh_shell(&self, name: &str) -> Result<IdRange, SysError> {
        let path = self.dirs.path(name);
        fs::create_dir(&path).step(|| format!("make {}", path.display()))?;
        let ids = IdRange::claim(&self.arguments.ids_dir, &self.mark(name))?;
        self.dirs.write(&SlotFile { slot: name.to_owned(), id_range: ids.index() })?;
        Ok(ids)
    }

    /// Builds the root file system and gives it to the init.
    fn hand_over_root(
        &self,
        layers: &Layers,
        upper: &UpperDirs,
        pid: i32,
        init: &OwnedFd,
    ) -> Result<(), RootError> {
        let path = format!("/proc/{pid}/ns/user");
        let userns = File::open(&path).step(|| format!("open {path}"))?;
        let Root { mut mounts, used } =
            self.builder.build(layers, upper, userns.as_fd(), &self.layer_stage)?;
        mounts.push(("dev".to_owned(), self.devices.clone_for_sandbox()?));
        let (targets, fds): (Vec<String>, Vec<OwnedFd>) = mounts.into_iter().unzip();
        let fds: Vec<_> = fds.iter().chain(&used).map(AsFd::as_fd).collect();
        let sent = protocol::send(init, &Roots { targets }, &fds).map_err(std::io::Error::other);
        Ok(sent.step(|| "hand the root over to its init")?)
    }
}

/// Binds and listens. The path goes through the directory's descriptor, since a socket path is short.
fn listen_at(path: &std::path::Path) -> Result<OwnedFd, SysError> {
    let step = || format!("listen at {}", path.display());
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .step(step)?;
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(SysError::new(step(), std::io::ErrorKind::InvalidInput));
    };
    let dir = File::open(dir).step(step)?;
    let short = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), name.to_string_lossy());
    bind(&socket, &SocketAddrUnix::new(short.as_str()).step(step)?).step(step)?;
    listen(&socket, 128).step(step)?;
    Ok(socket)
}

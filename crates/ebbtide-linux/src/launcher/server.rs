//! The launcher's event loop: requests of the daemon, inits that become ready or end, slots made ahead.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::net::{SocketFlags, accept_with};

use super::Arguments;
use super::claims::Waiting;
use super::disk_class::DiskClass;
use super::pulse::Pulse;
use super::roots::{Roots, SlotRoot};
use super::slots::{Phase, Shell, Slot};
use crate::cgroup::{self, Backend};
use crate::init::Readiness;
use crate::protocol::{self, FromLauncher, Refusal, SlotState, ToLauncher};
use crate::root::{DeviceTree, RootBuilder};
use crate::seccomp::Filter;
use crate::slot::SlotDirs;
use crate::sys_error::{Step, SysError};

const LISTENER: u64 = 0;
/// Tokens are `index * 4 + kind`, above the listener's.
const CONNECTION: u64 = 1;
const INIT: u64 = 2;
const HANDSHAKE: u64 = 3;

/// How soon a release is tried again while a process of the slot is on its way out.
const RETRY: Duration = Duration::from_millis(1);
/// The most slots that are being prepared at once; more would only share the processors.
const MOST_PREPARING: usize = 4;
/// How many of them for nobody yet, so that somebody who comes finds room.
const MOST_PREPARING_AHEAD: usize = 2;
/// How many slots in a row may fail before those who wait for one are told.
const MOST_FAILURES: u32 = 3;

/// How long a launcher that holds no sandbox waits for a daemon.
const LONELY: Duration = Duration::from_secs(5);
/// How long after the last release the disk is trimmed.
pub(super) const TRIM_AFTER: Duration = Duration::from_secs(5);
/// In place of a connection: nobody is to be told.
const NOBODY: u64 = u64::MAX;

pub(crate) struct Launcher {
    pub(super) arguments: Arguments,
    pub(super) dirs: SlotDirs,
    pub(super) cgroups: Box<dyn Backend>,
    pub(super) disk: DiskClass,
    pub(super) roots: Roots,
    pub(super) builder: RootBuilder,
    pub(super) devices: DeviceTree,
    pub(super) filter: Arc<Filter>,
    /// Where inits attach their roots, each in its own mount namespace.
    pub(super) stage: PathBuf,
    /// Where layers are attached for a moment.
    pub(super) layer_stage: PathBuf,
    pub(super) epoll: OwnedFd,
    pub(super) pulse: Pulse,
    pub(super) slots: Vec<Option<Slot>>,
    pub(super) free_slots: Vec<usize>,
    pub(super) shells: Vec<Shell>,
    pub(super) connections: Vec<Option<OwnedFd>>,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) retry: bool,
    /// When to give the host back what ended sandboxes have written, if none lives by then.
    pub(super) trim_due: Option<Instant>,
    pub(super) shutting_down: Option<(u64, u64)>,
}

impl Launcher {
    /// Serves until there is nothing left to do.
    pub(super) fn serve(&mut self, listener: OwnedFd) -> Result<(), SysError> {
        self.watch(&listener, LISTENER).step(|| "watch the listening socket")?;
        let mut events = Vec::with_capacity(32);
        let mut lonely_since = Instant::now();
        loop {
            events.clear();
            let patience = self.patience();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), patience.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(SysError::new("wait for events", errno)),
            }
            for event in events.drain(..) {
                self.dispatch(event.data.u64(), &listener);
            }
            if std::mem::take(&mut self.retry) {
                self.release_all();
            }
            if self.trim_due.is_some_and(|due| due <= Instant::now()) && !self.holds_sandboxes() {
                self.trim_due = None;
                self.disk.trim();
            }
            self.fill_pool();
            self.drop_cold();
            if self.finished() {
                return Ok(());
            }
            // A launcher that nobody has ever called, or that was left, holds out for a moment: its daemon may
            // be on the way.
            if self.is_connected() || self.holds_sandboxes() {
                lonely_since = Instant::now();
            } else if lonely_since.elapsed() > LONELY && self.shutting_down.is_none() {
                self.shut_down(NOBODY, 0);
            }
        }
    }

    /// How long to wait for an event: not at all while a slot is to be made, a moment while a release waits, and
    /// until slots of an image are no longer kept.
    fn patience(&self) -> Option<Timespec> {
        let time = if self.wanted().is_some() {
            Duration::ZERO
        } else if self.slots.iter().flatten().any(|slot| slot.phase == Phase::Releasing) {
            RETRY
        } else if !self.is_connected() || self.trim_due.is_some() && !self.holds_sandboxes() {
            Duration::from_secs(1)
        } else {
            self.roots.next_cold()?
        };
        Some(Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) })
    }

    fn dispatch(&mut self, token: u64, listener: &OwnedFd) {
        let index = (token / 4) as usize;
        match token % 4 {
            LISTENER => {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                if let Ok(socket) = accept_with(listener, flags) {
                    let index = self.connections.len() as u64;
                    if self.watch(&socket, index * 4 + CONNECTION).is_ok() {
                        self.connections.push(Some(socket));
                    }
                }
            }
            CONNECTION => self.request(index),
            INIT => self.init_ended(index),
            _ => self.handshake(index),
        }
    }

    fn request(&mut self, index: usize) {
        let Some(Some(socket)) = self.connections.get(index) else { return };
        match protocol::receive::<ToLauncher>(socket) {
            Ok((message, _)) => self.serve_request(index as u64, message),
            Err(error) if error.is_would_block() => {}
            Err(_) => {
                self.connections[index] = None;
                self.waiting.retain(|waiting| waiting.connection != index as u64);
            }
        }
    }

    fn serve_request(&mut self, connection: u64, message: ToLauncher) {
        match message {
            ToLauncher::Claim { seq, id, resources, image } => {
                let root = self.roots.claim(&image);
                self.claim(Waiting { connection, seq, id, resources, root })
            }
            ToLauncher::Destroy { seq, id } => self.destroy(connection, seq, &id),
            ToLauncher::List { seq } => {
                let slots = self.slots.iter().flatten();
                let state =
                    |slot: &Slot| if slot.phase == Phase::Ready { SlotState::Alive } else { SlotState::Dead };
                let slots = slots.filter_map(|slot| Some((slot.sandbox.clone()?, state(slot)))).collect();
                self.tell(connection, &FromLauncher::Listed { seq, slots });
            }
            ToLauncher::Leftovers { seq } => {
                let found = self.leftovers();
                self.tell(connection, &FromLauncher::Leftovers { seq, found });
            }
            ToLauncher::Shutdown { seq } => self.shut_down(connection, seq),
        }
    }

    fn handshake(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) else { return };
        let Some(handshake) = slot.handshake.take() else { return };
        let answer = protocol::receive::<Readiness>(&handshake);
        let root = slot.root.clone();
        let refusal = match answer {
            Ok((Readiness::Ready, _)) => {
                slot.phase = Phase::Ready;
                root.iter().for_each(|root| self.roots.made(root));
                self.serve_waiting();
                return;
            }
            Ok((Readiness::Failed { step, errno }, _)) => Refusal::Failed { step, errno },
            Err(error) => Refusal::Failed { step: format!("prepare a sandbox: {error}"), errno: libc::EIO },
        };
        slot.kill(&*self.cgroups);
        root.iter().for_each(|root| self.slot_failed(root, &refusal));
    }

    /// Tells those who wait for a root once it is plain that no slot can be made with it.
    pub(super) fn slot_failed(&mut self, root: &Rc<SlotRoot>, refusal: &Refusal) {
        eprintln!("ebb internal-launcher: a slot failed: {refusal:?}");
        let failures = self.roots.failed(root);
        if failures < MOST_FAILURES && !refusal.is_final() {
            return;
        }
        let (told, others) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|waiting| Rc::ptr_eq(&waiting.root, root));
        self.waiting = others;
        for waiting in told {
            let message = FromLauncher::Claimed { seq: waiting.seq, result: Err(refusal.clone()) };
            self.tell(waiting.connection, &message);
        }
    }

    /// What the next slot is to be made with: for those who wait, and then to have some ahead.
    fn wanted(&self) -> Option<Rc<SlotRoot>> {
        // What there is of each root, less those who wait for it.
        let mut spare: HashMap<*const SlotRoot, isize> = HashMap::new();
        let mut preparing = 0;
        for slot in self.slots.iter().flatten().filter(|slot| slot.is_spare()) {
            preparing += usize::from(slot.phase == Phase::Preparing);
            slot.root.iter().for_each(|root| *spare.entry(Rc::as_ptr(root)).or_default() += 1);
        }
        if self.shutting_down.is_some() || preparing >= MOST_PREPARING {
            return None;
        }
        for waiting in &self.waiting {
            *spare.entry(Rc::as_ptr(&waiting.root)).or_default() -= 1;
        }
        let spare = |root: &Rc<SlotRoot>| spare.get(&Rc::as_ptr(root)).copied().unwrap_or_default();
        if let Some(waiting) = self.waiting.iter().find(|waiting| spare(&waiting.root) < 0) {
            return Some(Rc::clone(&waiting.root));
        }
        if !self.is_connected() || preparing >= MOST_PREPARING_AHEAD {
            return None;
        }
        let ahead = self.arguments.pool_slots as isize;
        self.roots.made_ahead().find(|root| spare(root) < ahead).map(Rc::clone)
    }

    /// Makes one slot, so that requests that come meanwhile are served in between.
    fn fill_pool(&mut self) {
        let Some(root) = self.wanted() else { return };
        match self.make_slot(&root) {
            Ok(slot) => self.track(slot),
            Err(refusal) => self.slot_failed(&root, &refusal),
        }
    }

    /// Ends the slots that were made ahead with a root that is no longer wanted.
    fn drop_cold(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            let is_wanted = |root: &Rc<SlotRoot>| {
                let mut wanted = self.waiting.iter().map(|waiting| &waiting.root).chain(self.roots.warm());
                wanted.any(|wanted| Rc::ptr_eq(wanted, root))
            };
            if slot.phase == Phase::Ready && slot.is_spare() && !slot.root.as_ref().is_some_and(is_wanted) {
                slot.phase = Phase::Ending;
                slot.kill(&*self.cgroups);
            }
        }
    }

    /// Takes a slot into the table and watches its init.
    pub(super) fn track(&mut self, slot: Slot) {
        let index = self.free_slots.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        if let Some(pidfd) = &slot.pidfd {
            let _ = self.watch(pidfd, index as u64 * 4 + INIT);
        }
        if let Some(handshake) = &slot.handshake {
            let _ = self.watch(handshake, index as u64 * 4 + HANDSHAKE);
        }
        // One without a pidfd has no init, whatever it came from.
        let released = slot.pidfd.is_none();
        self.slots[index] = Some(slot);
        if released {
            self.release(index);
        }
    }

    fn release_all(&mut self) {
        for index in 0..self.slots.len() {
            if self.slots[index]
                .as_ref()
                .is_some_and(|slot| slot.phase == Phase::Releasing && slot.pidfd.is_none())
            {
                self.release(index);
            }
        }
    }

    /// Has releases tried again shortly.
    pub(super) fn retry_releases(&mut self, error: &SysError) {
        if error.errno() != Some(libc::EBUSY) {
            eprintln!("ebb internal-launcher: {error}; trying again");
        }
        self.retry = true;
    }

    /// Ends every slot; the launcher ends once they are gone. Where nobody has asked for it, the records of ended
    /// sandboxes stay for the next daemon.
    fn shut_down(&mut self, connection: u64, seq: u64) {
        self.shutting_down = Some((connection, seq));
        self.waiting.clear();
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots[index].as_mut() else { continue };
            if connection == NOBODY && slot.sandbox.is_some() {
                continue;
            }
            slot.waiters.push((NOBODY, 0, Instant::now()));
            slot.kill(&*self.cgroups);
            if slot.pidfd.is_none() {
                self.release(index);
            }
        }
    }

    fn finished(&mut self) -> bool {
        let Some((connection, seq)) = self.shutting_down else { return false };
        let stays = |slot: &Slot| connection == NOBODY && slot.sandbox.is_some();
        if self.slots.iter().flatten().any(|slot| !stays(slot)) {
            return false;
        }
        self.drop_shells();
        self.disk.close(&self.arguments.disk_pool());
        cgroup::leave_own_cgroup(&self.arguments.home_id);
        self.cgroups.remove_home();
        self.tell(connection, &FromLauncher::ShutDown { seq, pid: std::process::id() });
        true
    }

    /// Whether a daemon is connected.
    fn is_connected(&self) -> bool {
        self.connections.iter().any(Option::is_some)
    }

    fn holds_sandboxes(&self) -> bool {
        self.slots.iter().flatten().any(|slot| slot.sandbox.is_some() && slot.phase != Phase::Released)
    }

    fn watch(&self, source: impl AsFd, token: u64) -> rustix::io::Result<()> {
        epoll::add(&self.epoll, source, epoll::EventData::new_u64(token), epoll::EventFlags::IN)
    }

    pub(super) fn epoll_remove(&self, source: impl AsFd) {
        let _ = epoll::delete(&self.epoll, source);
    }

    pub(super) fn tell(&mut self, connection: u64, message: &FromLauncher) {
        if let Some(Some(socket)) = self.connections.get(connection as usize)
            && protocol::send(socket, message, &[]).is_err()
        {
            self.connections[connection as usize] = None;
        }
    }

    pub(super) fn tell_all(&mut self, message: &FromLauncher) {
        for connection in 0..self.connections.len() {
            self.tell(connection as u64, message);
        }
    }
}

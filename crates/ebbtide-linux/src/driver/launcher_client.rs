//! The connection to the launcher: calls by number, news of ended sandboxes, a new launcher where one has died.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ebbtide_driver::DriverError;
use ebbtide_model::SandboxId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::{Mutex as AsyncMutex, Notify, oneshot, watch};

use super::create::refused;
use super::packets::Packets;
use super::start_launcher::start_launcher;
use super::{LinuxConfig, unexpected};
use crate::protocol::{FromLauncher, SlotState, ToLauncher};

/// How long one call may take; the slowest, a destroy, waits for the kernel to end the sandbox's processes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a call is tried over launchers that die.
const TRIES: usize = 3;

#[derive(Clone)]
pub(super) struct LauncherClient(Arc<Shared>);

struct Shared {
    config: LinuxConfig,
    /// The connection; replaced when the launcher dies.
    link: AsyncMutex<Option<(Arc<Link>, Reader)>>,
    /// Every sandbox that the launcher holds, with whether it has ended.
    sandboxes: Mutex<HashMap<SandboxId, watch::Sender<bool>>>,
    /// Told when a launcher has gone without having been asked to.
    lost: Arc<Notify>,
    closed: AtomicBool,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.lost.notify_one();
    }
}

/// The task that reads a connection; it ends with the client.
struct Reader(tokio::task::AbortHandle);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Link {
    packets: Packets,
    next: AtomicU64,
    pending: Mutex<Option<HashMap<u64, oneshot::Sender<FromLauncher>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the mutexes guard is whole after every statement, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LauncherClient {
    pub(super) async fn connect(config: LinuxConfig) -> Result<Self, DriverError> {
        let client = Self(Arc::new(Shared {
            config,
            link: AsyncMutex::new(None),
            sandboxes: Mutex::new(HashMap::new()),
            lost: Arc::new(Notify::new()),
            closed: AtomicBool::new(false),
        }));
        client.link().await?;
        tokio::spawn(replace_lost(Arc::downgrade(&client.0), Arc::clone(&client.0.lost)));
        Ok(client)
    }

    /// Asks the launcher; a launcher that dies meanwhile is replaced and asked again, since every call is
    /// idempotent.
    pub(super) async fn call(
        &self,
        message: impl Fn(u64) -> ToLauncher,
    ) -> Result<FromLauncher, DriverError> {
        let mut problem = String::new();
        for _ in 0..TRIES {
            let link = self.link().await?;
            match tokio::time::timeout(PATIENCE, link.call(&message)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => problem = error,
                Err(_) => return Err(DriverError::Unavailable("the launcher does not answer".to_owned())),
            }
        }
        Err(DriverError::Unavailable(problem))
    }

    /// Every sandbox that the launcher holds.
    pub(super) async fn list(&self) -> Result<Vec<(SandboxId, SlotState)>, DriverError> {
        match self.call(|seq| ToLauncher::List { seq }).await? {
            FromLauncher::Listed { slots, .. } => Ok(slots),
            other => Err(unexpected(&other)),
        }
    }

    /// Takes note of a sandbox that has been made.
    pub(super) fn track(&self, id: &SandboxId) {
        lock(&self.0.sandboxes).entry(id.clone()).or_insert_with(|| watch::channel(false).0);
    }

    /// Takes note of a sandbox that is gone.
    pub(super) fn forget(&self, id: &SandboxId) {
        if let Some(ended) = lock(&self.0.sandboxes).remove(id) {
            ended.send_replace(true);
        }
    }

    /// Waits until a sandbox has ended; answers false if there is none of this id.
    pub(super) async fn wait_until_ended(&self, id: &SandboxId) -> bool {
        let Some(mut ended) = lock(&self.0.sandboxes).get(id).map(watch::Sender::subscribe) else {
            return false;
        };
        // An error means that it was forgotten, which is told first.
        let _ = ended.wait_for(|ended| *ended).await;
        lock(&self.0.sandboxes).contains_key(id)
    }

    /// Ends every sandbox and the launcher.
    pub(super) async fn shutdown(&self) -> Result<(), DriverError> {
        self.0.closed.store(true, Ordering::Relaxed);
        let link = self.link().await?;
        match tokio::time::timeout(PATIENCE * 2, link.call(&|seq| ToLauncher::Shutdown { seq })).await {
            Err(_) => return Err(DriverError::Unavailable("the launcher does not end".to_owned())),
            Ok(Err(problem)) => return Err(DriverError::Unavailable(problem)),
            Ok(Ok(FromLauncher::ShutDown { pid, .. })) => wait_for_end(pid).await,
            Ok(Ok(other)) => return Err(unexpected(&other)),
        }
        let run_dir = &self.0.config.run_dir;
        for file in ["launcher.sock", "launcher.lock"] {
            let _ = std::fs::remove_file(run_dir.join(file));
        }
        for dir in ["s", "root", "layer", "dev", "disk"] {
            let _ = std::fs::remove_dir(run_dir.join(dir));
        }
        Ok(())
    }

    /// The connection; a launcher is started where none answers.
    async fn link(&self) -> Result<Arc<Link>, DriverError> {
        let mut current = self.0.link.lock().await;
        if let Some((link, _)) = current.as_ref().filter(|(link, _)| link.is_open()) {
            return Ok(Arc::clone(link));
        }
        let mut tried = 0;
        let (link, reader) = loop {
            match self.open().await {
                // It was about to end, or was killed in this moment.
                Err(DriverError::Unavailable(_)) if tried < TRIES => tried += 1,
                result => break result?,
            }
        };
        *current = Some((Arc::clone(&link), reader));
        Ok(link)
    }

    /// Connects, and takes over what the launcher holds.
    async fn open(&self) -> Result<(Arc<Link>, Reader), DriverError> {
        let path = self.0.config.run_dir.join("launcher.sock");
        let packets = match Packets::connect(&path) {
            Ok(packets) => packets,
            Err(_) => {
                start_launcher(&self.0.config)
                    .map_err(|error| DriverError::io("start the launcher", error))?;
                // Refused if it was killed in this very moment; another attempt then starts another.
                Packets::connect(&path)
                    .map_err(|error| DriverError::Unavailable(format!("connect to the launcher: {error}")))?
            }
        };
        let link =
            Arc::new(Link { packets, next: AtomicU64::new(1), pending: Mutex::new(Some(HashMap::new())) });
        let reader = Reader(tokio::spawn(read(Arc::downgrade(&self.0), Arc::clone(&link))).abort_handle());
        let listed = tokio::time::timeout(PATIENCE, link.call(&|seq| ToLauncher::List { seq })).await;
        let problem = match listed {
            Ok(Ok(FromLauncher::Listed { slots, .. })) => {
                self.renew(&slots);
                return Ok((link, reader));
            }
            Ok(Ok(FromLauncher::Broken(refusal))) => refused(refusal),
            Ok(Ok(other)) => unexpected(&other),
            Ok(Err(problem)) => DriverError::Unavailable(problem),
            Err(_) => return Err(DriverError::Unavailable("the launcher does not answer".to_owned())),
        };
        // Nobody listens there any more.
        let _ = std::fs::remove_file(&path);
        Err(problem)
    }

    /// Takes over what a launcher says it holds.
    fn renew(&self, slots: &[(SandboxId, SlotState)]) {
        let mut sandboxes = lock(&self.0.sandboxes);
        sandboxes.retain(|id, ended| {
            let held = slots.iter().any(|(held, _)| held == id);
            if !held {
                ended.send_replace(true);
            }
            held
        });
        for (id, state) in slots {
            let ended = sandboxes.entry(id.clone()).or_insert_with(|| watch::channel(false).0);
            if *state == SlotState::Dead {
                ended.send_replace(true);
            }
        }
    }
}

/// Waits, bounded, until a process that is ending has ended: with it goes its mount namespace.
async fn wait_for_end(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(pidfd) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else { return };
    let ended = tokio::task::spawn_blocking(move || {
        let timeout = Timespec { tv_sec: 10, tv_nsec: 0 };
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout))
    });
    let _ = ended.await;
}

/// Reads until the launcher goes.
async fn read(client: Weak<Shared>, link: Arc<Link>) {
    while let Ok((message, _)) = link.packets.receive::<FromLauncher>().await {
        match message {
            FromLauncher::Exited { id } => {
                if let Some(client) = client.upgrade() {
                    // Also of one that nobody here knows yet: the answer that names it is older than this news, and
                    // whoever asked may look at it later. The launcher holds it until it is destroyed.
                    let mut sandboxes = lock(&client.sandboxes);
                    sandboxes.entry(id).or_insert_with(|| watch::channel(false).0).send_replace(true);
                }
            }
            broken @ FromLauncher::Broken(_) => link.answer_all(&broken),
            message => link.answer(message),
        }
    }
    lock(&link.pending).take();
    if let Some(client) = client.upgrade() {
        client.lost.notify_one();
    }
}

/// Has a new launcher take over from one that has died, whether or not anybody calls.
async fn replace_lost(client: Weak<Shared>, lost: Arc<Notify>) {
    loop {
        lost.notified().await;
        let Some(client) = client.upgrade().map(LauncherClient) else { return };
        if client.0.closed.load(Ordering::Relaxed) {
            return;
        }
        tracing::warn!("the launcher is gone; a new one takes over");
        if let Err(error) = client.link().await {
            tracing::error!(%error, "no launcher could be started");
        }
    }
}

impl Link {
    async fn call(&self, message: &impl Fn(u64) -> ToLauncher) -> Result<FromLauncher, String> {
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        match lock(&self.pending).as_mut() {
            Some(pending) => drop(pending.insert(seq, sender)),
            None => return Err("the launcher is gone".to_owned()),
        }
        if let Err(error) = self.packets.send(&message(seq), &[]).await {
            // Known here before the reader sees it: whoever calls next needs another connection.
            lock(&self.pending).take();
            return Err(error.to_string());
        }
        receiver.await.map_err(|_| "the launcher is gone".to_owned())
    }

    fn answer(&self, message: FromLauncher) {
        let seq = match &message {
            FromLauncher::Claimed { seq, .. }
            | FromLauncher::Destroyed { seq, .. }
            | FromLauncher::Listed { seq, .. }
            | FromLauncher::Leftovers { seq, .. }
            | FromLauncher::ShutDown { seq, .. } => *seq,
            FromLauncher::Broken(_) | FromLauncher::Exited { .. } => return,
        };
        if let Some(waiter) = lock(&self.pending).as_mut().and_then(|pending| pending.remove(&seq)) {
            // Who has gone meanwhile does not want the answer.
            let _ = waiter.send(message);
        }
    }

    fn answer_all(&self, message: &FromLauncher) {
        for (_, waiter) in lock(&self.pending).take().into_iter().flatten() {
            if let FromLauncher::Broken(refusal) = message {
                let _ = waiter.send(FromLauncher::Broken(refusal.clone()));
            }
        }
    }

    fn is_open(&self) -> bool {
        lock(&self.pending).is_some()
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;
    use crate::protocol;

    #[tokio::test]
    async fn an_end_that_is_told_before_the_sandbox_is_known_is_heard_of() {
        let client = LauncherClient(Arc::new(Shared {
            config: LinuxConfig::new("aaaabbbb", "/nowhere", "/nowhere"),
            link: AsyncMutex::new(None),
            sandboxes: Mutex::new(HashMap::new()),
            lost: Arc::new(Notify::new()),
            closed: AtomicBool::new(false),
        }));
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let packets = Packets::adopt(ours).unwrap();
        let link = Link { packets, next: AtomicU64::new(1), pending: Mutex::new(Some(HashMap::new())) };
        let (listed, made) = (SandboxId::generate(), SandboxId::generate());
        for id in [&listed, &made] {
            protocol::send(&theirs, &FromLauncher::Exited { id: id.clone() }, &[]).unwrap();
        }
        drop(theirs);
        read(Arc::downgrade(&client.0), Arc::new(link)).await;
        // The answers that name them were given before they ended, and are looked at only now.
        let ended =
            async |id| tokio::time::timeout(Duration::from_secs(10), client.wait_until_ended(id)).await;
        client.track(&made);
        assert_eq!(ended(&made).await, Ok(true));
        client.renew(&[(listed.clone(), SlotState::Alive)]);
        assert_eq!(ended(&listed).await, Ok(true));
    }
}

//! Images from registries.
//!
//! A registry is any server that somebody names in an image's name, so nothing it says is trusted or kept unbounded:
//! documents, errors and tokens are read up to a limit, contents are checked against their digests, and every wait
//! ends. That is why the two kinds of requests are made here, with `reqwest`, and not by a finished client: those that
//! there are read answers whole, whatever their size, and hide when to come again and which credentials were refused.

mod config;
mod credentials;
mod docker_config;
mod error;
mod http;
mod identity;
mod manifest;
mod patience;
mod progress;
mod pull;
mod refusal;
mod session;
mod sink;
mod sources;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use config::{Mirror, RegistryConfig, RegistrySettings, check_host};
pub use credentials::{Credentials, LoginOrigin, Redacted};
pub(crate) use docker_config::password_in;
pub use error::{PullError, PullProblem};
pub use progress::Progress;

use crate::{Image, ImageName, Store};
use progress::Meter;
use pull::{Order, Shared};
use sources::Sources;

/// Pulls images into a store.
#[derive(Clone)]
pub struct Puller {
    shared: Arc<Shared>,
    running: Arc<Mutex<HashMap<Key, Weak<Running>>>>,
    tasks: TaskTracker,
}

/// What makes two pulls the same one.
type Key = (ImageName, Option<Credentials>);
type Outcome = Option<Result<Image, PullError>>;

/// A pull that runs until it has ended or nobody holds this any more.
struct Running {
    progress: watch::Receiver<Progress>,
    outcome: watch::Receiver<Outcome>,
    _waited_for: DropGuard,
}

/// A pull that somebody waits for. When all who wait for it have dropped theirs, it ends and leaves nothing half-made.
pub struct Pull {
    running: Arc<Running>,
    gone: PullError,
}

impl Puller {
    /// Pulls into `store`.
    pub fn new(store: Store, config: RegistryConfig) -> Self {
        let (pulls, unpacks) = (Semaphore::new(config.pulls.max(1)), Semaphore::new(config.unpacks.max(1)));
        let shared = Shared { store, config, trust: http::Trust::default(), pulls, unpacks };
        let tasks = TaskTracker::new();
        // It only counts: nothing keeps more from beginning.
        tasks.close();
        Self { shared: Arc::new(shared), running: Arc::default(), tasks }
    }

    /// Pulls an image, or joins whoever is pulling the same with the same credentials. Without credentials, those of
    /// the machine are used, if it has any for the registry.
    ///
    /// The work is done by the runtime that this is called in.
    pub fn pull(&self, name: &ImageName, credentials: Option<Credentials>) -> Pull {
        let key = (name.clone(), credentials);
        let gone = failure(name, PullProblem::GivenUp);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.get(&key).and_then(Weak::upgrade) {
            return Pull { running, gone };
        }
        let (meter, progress) = Meter::new(name.familiar());
        let (told, outcome) = watch::channel(None);
        let given_up = CancellationToken::new();
        let guard = given_up.clone().drop_guard();
        let new = Arc::new(Running { progress, outcome, _waited_for: guard });
        running.insert(key.clone(), Arc::downgrade(&new));
        let order =
            Order { name: key.0.clone(), credentials: key.1.clone(), meter: Arc::new(meter), given_up };
        let (shared, known, this) =
            (Arc::clone(&self.shared), Arc::clone(&self.running), Arc::downgrade(&new));
        self.tasks.spawn(async move {
            let ended = pull::pull(shared, order).await;
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            // Another may have begun after everybody had left this one.
            if known.get(&key).is_some_and(|current| current.ptr_eq(&this)) {
                known.remove(&key);
            }
            drop(known);
            told.send_replace(Some(ended.map_err(|problem| failure(&key.0, problem))));
        });
        Pull { running: new, gone }
    }

    /// Waits until no pull runs, nor anything of one that was given up.
    pub async fn settled(&self) {
        self.tasks.wait().await;
    }

    /// Whether these credentials (`None`: those of the machine) may have an image that is here and came with
    /// somebody's: the registry is asked for its manifest, and nothing else.
    ///
    /// # Errors
    /// When the registry gives no answer to that.
    pub async fn may_use(
        &self,
        name: &ImageName,
        image: &Image,
        credentials: Option<&Credentials>,
    ) -> Result<bool, PullError> {
        if image.private_to.is_none() {
            return Ok(true);
        }
        let Shared { store, config, trust, .. } = &*self.shared;
        let ask = async {
            let sources = Sources::new(config, trust, name, credentials).await?;
            let reference = image.digest.to_string();
            sources.registry().manifest(&reference, store.limits().max_manifest_bytes).await
        };
        match tokio::time::timeout(config.timeout, ask).await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(
                PullProblem::NoCredentials { .. }
                | PullProblem::WrongCredentials { .. }
                | PullProblem::Forbidden { .. }
                | PullProblem::NoSuchImage { .. }
                | PullProblem::NoSuchRepository { .. },
            )) => Ok(false),
            Ok(Err(problem)) => Err(failure(name, problem)),
            Err(_) => Err(failure(name, PullProblem::TooSlow { limit: config.timeout })),
        }
    }
}

impl Pull {
    /// How far it has come, and whenever that changes.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.running.progress.clone()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it fails, with the same error for all who wait.
    pub async fn done(self) -> Result<Image, PullError> {
        let mut outcome = self.running.outcome.clone();
        let ended = match outcome.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone(),
            // The runtime is going.
            Err(_) => None,
        };
        ended.unwrap_or(Err(self.gone))
    }
}

fn failure(name: &ImageName, problem: PullProblem) -> PullError {
    PullError { image: name.familiar(), registry: name.registry().to_owned(), problem: Box::new(problem) }
}

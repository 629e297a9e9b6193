//! Images for the engine: what their names stand for, and how they come here.
//!
//! A name is looked for among the images that are here, then among the aliases; what an alias leads to is looked for
//! here again, and asked of its registry last. `host` stands for the machine's own programs, always.

mod collector;
mod credentials;
mod stop_signal;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ebbtide::Home;
use ebbtide_control::{ImageDefaults, ImageRequest, Images, PrepareError, PreparedImage, Progress};
use ebbtide_driver::{LayeredRoot, RootImage};
use ebbtide_image::{
    Credentials, HeldImage, Image, ImageError, ImageName, Limits, Puller, RegistryConfig, SecretStores, Store,
};
use ebbtide_model::{HOST_IMAGE, ImageAliases, Invalid, MadeOf};
use tokio::sync::{Notify, OnceCell};

use super::config::Config;
use crate::images::{AliasError, AliasFile};
use credentials::Named;

/// How often an image is made ready again that was collected before it could be held.
const ATTEMPTS: usize = 3;
/// How long pulls that nobody waits for any more may take to tidy up.
const SETTLE: Duration = Duration::from_secs(10);

/// The images of a home. Clones are the same.
#[derive(Clone)]
pub(super) struct HomeImages {
    inner: Arc<Inner>,
}

struct Inner {
    /// What the configuration says.
    configured: ImageAliases,
    /// What `ebb image alias` says, which goes before it.
    added: AliasFile,
    secrets: SecretStores,
    store_dir: PathBuf,
    limits: Limits,
    registries: RegistryConfig,
    max_bytes: Option<u64>,
    /// Not opened before it is needed, and tried again if that fails: whatever is wrong with it, the machine's own
    /// programs can be used.
    opened: OnceCell<Opened>,
    /// An image more is here.
    grown: Notify,
}

struct Opened {
    store: Store,
    puller: Puller,
}

/// What a name was found to mean.
struct Meaning {
    /// The name itself; none where it is only an alias, and could not be an image's.
    asked: Option<ImageName>,
    /// What it leads to; none for the machine's own programs.
    image: Option<ImageName>,
}

impl HomeImages {
    pub(super) fn new(home: &Home, config: &Config) -> Result<Self, Invalid> {
        let state_dir = home.state_dir();
        Ok(Self {
            inner: Arc::new(Inner {
                configured: config.aliases()?,
                added: AliasFile::of(home),
                secrets: config.secrets(state_dir),
                store_dir: state_dir.join("images"),
                limits: config.image_limits(),
                registries: config.registries(state_dir)?,
                max_bytes: config.image_max_bytes(),
                opened: OnceCell::new(),
                grown: Notify::new(),
            }),
        })
    }

    /// Waits, bounded, until nothing half-made is left of pulls that were given up.
    pub(super) async fn settled(&self) {
        if let Some(opened) = self.inner.opened.get() {
            let _ = tokio::time::timeout(SETTLE, opened.puller.settled()).await;
        }
    }

    async fn opened(&self) -> Result<&Opened, ImageError> {
        let open = || async {
            let Inner { store_dir, limits, registries, .. } = &*self.inner;
            let (store_dir, limits) = (store_dir.clone(), limits.clone());
            let store = blocking(move || Store::open(store_dir, limits)).await?;
            Ok(Opened { puller: Puller::new(store.clone(), registries.clone()), store })
        };
        self.inner.opened.get_or_try_init(open).await
    }

    /// What is here under one of these names, and may be used with `credentials`.
    async fn local(
        &self,
        names: Vec<ImageName>,
        credentials: Option<&Named>,
    ) -> Result<Option<HeldImage>, PrepareError> {
        let Opened { store, puller } = self.opened().await.map_err(PrepareError::new)?;
        for name in names {
            let (of, finder) = (name.clone(), store.clone());
            let found = blocking(move || finder.find(&of)).await.map_err(PrepareError::new)?;
            let Some(image) = found else { continue };
            let credentials = credentials.and_then(|named| named.for_registry(name.registry()));
            // It came with somebody's password, which is no reason to show it to everybody.
            let usable = puller.may_use(&name, &image, credentials).await.map_err(PrepareError::new)?;
            if usable && let Some(held) = hold(store, image).await? {
                return Ok(Some(held));
            }
        }
        Ok(None)
    }

    /// Pulls an image, or joins somebody who does.
    async fn pull(
        &self,
        name: &ImageName,
        credentials: Option<Credentials>,
        progress: Progress<'_>,
    ) -> Result<HeldImage, PrepareError> {
        let Opened { store, puller } = self.opened().await.map_err(PrepareError::new)?;
        for _ in 0..ATTEMPTS {
            let pull = puller.pull(name, credentials.clone());
            let mut far = pull.progress();
            progress(far.borrow_and_update().to_string());
            let done = pull.done();
            tokio::pin!(done);
            let image = loop {
                tokio::select! {
                    biased;
                    image = &mut done => break image.map_err(PrepareError::new)?,
                    Ok(()) = far.changed() => progress(far.borrow_and_update().to_string()),
                }
            };
            self.inner.grown.notify_one();
            if let Some(held) = hold(store, image).await? {
                return Ok(held);
            }
        }
        let name = name.familiar();
        Err(PrepareError::new(format!(
            "image {name} was removed again and again before it was used; try again"
        )))
    }
}

impl Inner {
    /// What `name` means at this moment.
    fn meaning(&self, name: &str) -> Result<Meaning, Invalid> {
        let refused = |invalid: Invalid| Invalid { field: "image".to_owned(), ..invalid };
        let added = self.added.read().map_err(|error| match error {
            AliasError::Invalid(invalid) => refused(invalid),
            error => Invalid::new("image", error.to_string(), "a table [alias] of names"),
        })?;
        let aliases = self.configured.overlaid_with(&added).map_err(refused)?;
        let asked = name.parse::<ImageName>();
        let mut target = aliases.resolve(name).map_err(refused)?.to_owned();
        if let Ok(asked) = &asked
            && target == name
        {
            // The alias may have been made for the short form of the same name.
            let familiar = asked.familiar();
            let further = aliases.resolve(&familiar).map_err(refused)?;
            if further != familiar {
                further.clone_into(&mut target);
            }
        }
        let image = match target.as_str() {
            HOST_IMAGE => None,
            target => Some(target.parse().map_err(malformed)?),
        };
        Ok(Meaning { asked: asked.ok(), image })
    }
}

#[async_trait]
impl Images for HomeImages {
    async fn check(&self, request: &ImageRequest) -> Result<(), Invalid> {
        if request.name == HOST_IMAGE {
            return match request.credentials {
                None => Ok(()),
                Some(_) => Err(credentials::not_for_the_host()),
            };
        }
        let (inner, request) = (Arc::clone(&self.inner), request.clone());
        blocking(move || {
            let meaning = inner.meaning(&request.name)?;
            request.credentials.map_or(Ok(()), |named| credentials::check(&inner.secrets, &named, &meaning))
        })
        .await
    }

    async fn prepare(
        &self,
        request: &ImageRequest,
        progress: Progress<'_>,
    ) -> Result<PreparedImage, PrepareError> {
        if request.name == HOST_IMAGE {
            return Ok(PreparedImage::host());
        }
        let (inner, asked) = (Arc::clone(&self.inner), request.clone());
        let (Meaning { asked, image }, credentials) = blocking(move || {
            let meaning = inner.meaning(&asked.name).map_err(PrepareError::new)?;
            let read = asked.credentials.map(|named| Named::read(&inner.secrets, &named));
            Ok::<_, PrepareError>((meaning, read.transpose().map_err(PrepareError::new)?))
        })
        .await?;
        let mut names: Vec<ImageName> = asked.into_iter().chain(image.clone()).collect();
        names.dedup();
        let local = self.local(names, credentials.as_ref()).await;
        match (local, image) {
            (Ok(Some(held)), _) => Ok(prepared(held)),
            (Ok(None), Some(name)) => {
                let credentials = credentials.and_then(|named| named.for_registry(name.registry()).cloned());
                Ok(prepared(self.pull(&name, credentials, progress).await?))
            }
            (Ok(None), None) => Ok(PreparedImage::host()),
            (Err(problem), None) => {
                tracing::warn!(%problem, image = request.name, "using the host's own programs, as its alias says");
                Ok(PreparedImage::host())
            }
            (Err(problem), Some(_)) => Err(problem),
        }
    }
}

async fn hold(store: &Store, image: Image) -> Result<Option<HeldImage>, PrepareError> {
    let store = store.clone();
    blocking(move || store.hold(image)).await.map_err(PrepareError::new)
}

fn prepared(held: HeldImage) -> PreparedImage {
    let config = held.image.config.clone();
    let command = config.entrypoint.iter().chain(&config.cmd).cloned().collect();
    PreparedImage {
        root: RootImage::Layers(LayeredRoot {
            store: held.store_dir().to_owned(),
            layers: held.layer_names().to_vec(),
            hold: held.hold_file().to_owned(),
        }),
        made_of: MadeOf { digest: Some(held.image.digest.to_string()), command },
        defaults: ImageDefaults {
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            env: config.env,
            working_dir: config.working_dir,
            user: config.user,
            stop_signal: config.stop_signal.as_deref().and_then(stop_signal::number),
        },
        hold: Some(Box::new(held)),
    }
}

fn malformed(error: ImageError) -> Invalid {
    Invalid::new(
        "image",
        error.to_string(),
        "NAME, NAME:TAG or NAME@sha256:DIGEST, after a registry if need be",
    )
}

/// What `work` comes to, without holding up anybody else while it waits for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

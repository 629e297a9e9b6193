//! One pull, from the name to the image.

use std::sync::{Arc, OnceLock};

use futures::future::try_join_all;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::RegistryConfig;
use super::credentials::Credentials;
use super::error::PullProblem;
use super::http::Trust;
use super::manifest::{self, Blob, Found, Plan};
use super::progress::Meter;
use super::sources::{Sources, Transfer};
use crate::{Digest, Image, ImageName, Ingest, Origin, Store, config};

/// What all pulls of a process share.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) config: RegistryConfig,
    pub(super) trust: Trust,
    pub(super) pulls: Semaphore,
    pub(super) unpacks: Semaphore,
}

/// What one pull is about.
pub(super) struct Order {
    pub(super) name: ImageName,
    pub(super) credentials: Option<Credentials>,
    pub(super) meter: Arc<Meter>,
    /// Nobody waits any more.
    pub(super) given_up: CancellationToken,
}

/// Pulls. When this returns, nothing of the pull runs any more and nothing half-made is left of it.
pub(super) async fn pull(shared: Arc<Shared>, order: Order) -> Result<Image, PullProblem> {
    let limit = shared.config.timeout;
    let jobs = TaskTracker::new();
    let begun = OnceLock::new();
    let outcome = tokio::select! {
        () = order.given_up.cancelled() => Err(PullProblem::GivenUp),
        outcome = tokio::time::timeout(limit, run(&shared, &order, &jobs, &begun)) => {
            outcome.unwrap_or(Err(PullProblem::TooSlow { limit }))
        }
    };
    if let Some(ingest) = begun.get() {
        Ingest::give_up(ingest);
    }
    jobs.close();
    jobs.wait().await;
    outcome
}

async fn run(
    shared: &Arc<Shared>,
    order: &Order,
    jobs: &TaskTracker,
    begun: &OnceLock<Arc<Ingest>>,
) -> Result<Image, PullProblem> {
    let Order { name, credentials, meter, .. } = order;
    let _turn = shared.pulls.acquire().await.map_err(|_| PullProblem::GivenUp)?;
    let store = shared.store.clone();
    let ingest = Arc::new(blocking(jobs, move || store.begin()).await??);
    let _ = begun.set(Arc::clone(&ingest));
    let transfer = Transfer { ingest: Arc::clone(&ingest), meter: Arc::clone(meter), jobs: jobs.clone() };
    let sources = Sources::new(&shared.config, &shared.trust, name, credentials.as_ref()).await?;

    let chosen = choose(shared, &sources, name).await?;
    let diff_ids = describe(shared, &sources, &chosen.plan, &transfer).await?;
    let layers = &chosen.plan.layers;
    meter.expect(layers.len(), layers.iter().map(|layer| layer.size).sum());
    let downloads = Semaphore::new(shared.config.downloads.max(1));
    let count = layers.len();
    try_join_all(layers.iter().zip(&diff_ids).enumerate().map(|(nth, (layer, diff_id))| {
        let (downloads, sources, transfer) = (&downloads, &sources, &transfer);
        async move {
            {
                let _slot = downloads.acquire().await.map_err(|_| PullProblem::GivenUp)?;
                sources.fetch(layer, &format!("layer {} of {count}", nth + 1), transfer).await?;
            }
            let _slot = shared.unpacks.acquire().await.map_err(|_| PullProblem::GivenUp)?;
            unpack(transfer, layer.digest, *diff_id).await?;
            transfer.meter.layer_done();
            Ok::<_, PullProblem>(())
        }
    }))
    .await?;

    let private_to = match credentials {
        Some(credentials) if sources.registry().proved().await => {
            Some(format!("{} at {}", credentials.username, name.registry()))
        }
        _ => None,
    };
    let name = name.clone();
    let finish = move || {
        for document in chosen.documents {
            write(&ingest, &document)?;
        }
        ingest.finish(&chosen.digest, &[name], Origin::Pulled, private_to)
    };
    Ok(blocking(jobs, finish).await??)
}

/// The image that a name stands for on this kind of machine.
struct Chosen {
    digest: Digest,
    plan: Plan,
    /// Its manifest, and the index that led to it if there was one.
    documents: Vec<Vec<u8>>,
}

async fn choose(shared: &Shared, sources: &Sources, name: &ImageName) -> Result<Chosen, PullProblem> {
    let limits = shared.store.limits();
    let pinned = name.digest().map(ToString::to_string);
    let reference = pinned.as_deref().or(name.tag()).unwrap_or("latest");
    let registry = name.registry();
    let mut documents = Vec::new();
    let (mut document, mut digest) =
        sources.document(reference, name.digest(), limits.max_manifest_bytes).await?;
    let mut found = manifest::read(&document.bytes, document.media_type.as_deref(), registry, limits)?;
    if let Found::Index(entries) = &found {
        let wanted = &shared.config.platform;
        let entry = wanted
            .choose(entries)
            .map_err(|offered| PullProblem::NoPlatform { wanted: wanted.clone(), offered })?;
        let listed = entry.digest().to_string();
        let expected: Digest = listed.parse()?;
        documents.push(document.bytes);
        (document, digest) = sources.document(&listed, Some(&expected), limits.max_manifest_bytes).await?;
        found = manifest::read(&document.bytes, document.media_type.as_deref(), registry, limits)?;
    }
    documents.push(document.bytes);
    match found {
        Found::Image(plan) => Ok(Chosen { digest, plan, documents }),
        Found::Index(_) => Err(PullProblem::Document {
            what: format!("the manifest {digest}"),
            host: registry.to_owned(),
            cause: "it is an index that is listed in an index".to_owned(),
        }),
    }
}

/// Fetches the configuration; returns what the layers have to be.
async fn describe(
    shared: &Shared,
    sources: &Sources,
    plan: &Plan,
    transfer: &Transfer,
) -> Result<Vec<Digest>, PullProblem> {
    sources.fetch(&plan.config, "its configuration", transfer).await?;
    let (store, Blob { digest, size }) = (shared.store.clone(), plan.config.clone());
    let json = blocking(&transfer.jobs, move || read_blob(&store, &digest, size)).await??;
    let described = config::read(&json)?;
    let malformed = |cause: String| PullProblem::Document {
        what: "its configuration".to_owned(),
        host: sources.registry().registry().to_owned(),
        cause,
    };
    let mut platform = described.platform.split('/');
    let (os, architecture) = (platform.next().unwrap_or_default(), platform.next().unwrap_or_default());
    let wanted = &shared.config.platform;
    if let Err(offered) = wanted.runs(os, architecture, platform.next()) {
        return Err(PullProblem::NoPlatform { wanted: wanted.clone(), offered: vec![offered] });
    }
    let (layers, diff_ids) = (plan.layers.len(), described.diff_ids.len());
    if layers != diff_ids {
        return Err(malformed(format!("it is of {diff_ids} layers, and the manifest has {layers}")));
    }
    Ok(described.diff_ids)
}

async fn unpack(transfer: &Transfer, layer: Digest, diff_id: Digest) -> Result<(), PullProblem> {
    let ingest = Arc::clone(&transfer.ingest);
    blocking(&transfer.jobs, move || ingest.unpack(&layer, &diff_id, &|_| {})).await??;
    Ok(())
}

fn write(ingest: &Ingest, document: &[u8]) -> Result<(), crate::ImageError> {
    let digest = Digest::of(document);
    if ingest.has_blob(&digest) {
        return Ok(());
    }
    let mut writer = ingest.blob(&digest, Some(document.len() as u64))?;
    let begun = usize::try_from(writer.offset()).unwrap_or(usize::MAX).min(document.len());
    writer.write(&document[begun..])?;
    writer.commit()
}

fn read_blob(store: &Store, digest: &Digest, size: u64) -> Result<Vec<u8>, crate::ImageError> {
    use std::io::Read as _;
    let mut json = Vec::new();
    let read = store.blob(digest)?.take(size).read_to_end(&mut json);
    read.map_err(|error| crate::ImageError::malformed(format!("the blob {digest}"), error))?;
    Ok(json)
}

async fn blocking<T: Send + 'static>(
    jobs: &TaskTracker,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PullProblem> {
    // Fails only where the runtime is going.
    jobs.spawn_blocking(job).await.map_err(|_| PullProblem::GivenUp)
}

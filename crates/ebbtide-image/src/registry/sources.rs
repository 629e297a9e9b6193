//! Where an image can be had: the mirrors in their order, then the registry itself.

use std::sync::Arc;

use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::config::RegistryConfig;
use super::credentials::Credentials;
use super::error::PullProblem;
use super::http::{self, Trust};
use super::manifest::Blob;
use super::progress::Meter;
use super::session::{Document, Place, Session};
use super::sink::Sink;
use crate::{Digest, ImageError, ImageName, Ingest};

/// Where an image can be had.
pub(super) struct Sources {
    mirrors: Vec<Session>,
    registry: Session,
}

impl Sources {
    /// Those of `name`. Credentials of a request are for the registry that they name, and no mirror sees them.
    pub(super) async fn new(
        config: &RegistryConfig,
        trust: &Trust,
        name: &ImageName,
        credentials: Option<&Credentials>,
    ) -> Result<Self, PullProblem> {
        let repository = name.repository();
        let mut mirrors = Vec::new();
        for mirror in config.registries.get(name.registry()).map_or(&[][..], |settings| &settings.mirrors) {
            let session = Session::new(config, trust, Place::Mirror(mirror), repository, None);
            match session.await {
                Ok(session) => mirrors.push(session),
                Err(problem) => warn!(mirror = mirror.host, %problem, "a mirror cannot be used"),
            }
        }
        let place = Place::Registry(name.registry());
        let registry = Session::new(config, trust, place, repository, credentials).await?;
        Ok(Self { mirrors, registry })
    }

    /// The registry itself.
    pub(super) fn registry(&self) -> &Session {
        &self.registry
    }

    /// The document that `reference` stands for; one with a digest is checked against it.
    pub(super) async fn document(
        &self,
        reference: &str,
        digest: Option<&Digest>,
        limit: u64,
    ) -> Result<(Document, Digest), PullProblem> {
        for mirror in &self.mirrors {
            match verified(mirror, reference, digest, limit).await {
                Ok(found) => return Ok(found),
                Err(problem) => pass_over(mirror, &problem),
            }
        }
        verified(&self.registry, reference, digest, limit).await
    }

    /// Brings a blob into the store, unless it is there.
    pub(super) async fn fetch(
        &self,
        blob: &Blob,
        what: &str,
        transfer: &Transfer,
    ) -> Result<(), PullProblem> {
        let meter = &transfer.meter;
        let Some(mut sink) = transfer.open(blob).await? else {
            meter.add(blob.size);
            return Ok(());
        };
        meter.add(sink.position());
        // What a dead process has left, or a mirror sends, may not be what it should be.
        let mut doubtful = sink.position() > 0;
        doubtful |= self.receive_from_mirrors(blob, what, &mut sink, meter).await?;
        receive(&self.registry, blob, what, &mut sink, meter).await?;
        match sink.commit().await {
            Err(problem) if is_mismatch(&problem) && doubtful => {
                debug!(what, "what came by several ways is damaged; it is fetched again in one piece");
                meter.take_back(blob.size);
            }
            ended => return ended.map_err(|problem| damaged(problem, what)),
        }
        let Some(mut sink) = transfer.open(blob).await? else { return Ok(()) };
        receive(&self.registry, blob, what, &mut sink, meter).await?;
        sink.commit().await.map_err(|problem| damaged(problem, what))
    }

    /// As much of a blob as the mirrors have; whether they had anything.
    async fn receive_from_mirrors(
        &self,
        blob: &Blob,
        what: &str,
        sink: &mut Sink,
        meter: &Meter,
    ) -> Result<bool, PullProblem> {
        let begun = sink.position();
        for mirror in self.mirrors.iter().filter(|mirror| !mirror.is_lost()) {
            match receive(mirror, blob, what, sink, meter).await {
                Ok(()) => break,
                Err(problem @ (PullProblem::Store(_) | PullProblem::GivenUp)) => return Err(problem),
                Err(problem) => pass_over(mirror, &problem),
            }
        }
        Ok(sink.position() > begun)
    }
}

/// What a fetch needs of the pull that it is part of.
pub(super) struct Transfer {
    pub(super) ingest: Arc<Ingest>,
    pub(super) meter: Arc<Meter>,
    /// The threads that write and unpack.
    pub(super) jobs: TaskTracker,
}

impl Transfer {
    async fn open(&self, blob: &Blob) -> Result<Option<Sink>, PullProblem> {
        let (ingest, digest) = (Arc::clone(&self.ingest), blob.digest);
        let there = self.jobs.spawn_blocking(move || ingest.has_blob(&digest)).await;
        if there.map_err(|_| PullProblem::GivenUp)? {
            return Ok(None);
        }
        Sink::open(&self.ingest, blob, &self.jobs).await
    }
}

fn pass_over(mirror: &Session, problem: &PullProblem) {
    warn!(mirror = mirror.registry(), %problem, "a mirror is passed over");
}

async fn verified(
    session: &Session,
    reference: &str,
    digest: Option<&Digest>,
    limit: u64,
) -> Result<(Document, Digest), PullProblem> {
    let document = session.manifest(reference, limit).await?;
    let actual = Digest::of(&document.bytes);
    match digest {
        Some(expected) if actual != *expected => {
            Err(PullProblem::WrongDigest { what: format!("the manifest {expected}") })
        }
        _ => Ok((document, actual)),
    }
}

/// Reads what is missing of a blob, on as many connections as it takes.
async fn receive(
    session: &Session,
    blob: &Blob,
    what: &str,
    sink: &mut Sink,
    meter: &Meter,
) -> Result<(), PullProblem> {
    let mut patience = session.patience();
    while sink.position() < blob.size {
        let before = sink.position();
        let problem = match session.blob(&blob.digest.to_string(), what, before).await {
            Ok(response) => match stream(response, blob, what, sink, meter).await {
                Ok(()) => continue,
                Err(problem) => problem,
            },
            Err(problem) => problem,
        };
        if sink.position() > before {
            patience.renew();
        }
        let problem = match problem {
            PullProblem::Broken { what, cause, .. } => {
                PullProblem::Broken { what, attempts: patience.spent() + 1, cause }
            }
            other => other,
        };
        debug!(what, position = sink.position(), %problem, "a transfer was cut off");
        patience.after(problem).await?;
    }
    Ok(())
}

/// One connection's worth.
async fn stream(
    mut response: Response,
    blob: &Blob,
    what: &str,
    sink: &mut Sink,
    meter: &Meter,
) -> Result<(), PullProblem> {
    let (begun, sized) = (sink.position(), response.content_length().is_some());
    let truncated = |have| PullProblem::Truncated { what: what.to_owned(), have, expected: blob.size };
    // Where a registry cannot begin in the middle, what is here already is passed over.
    let mut skip = match response.status() {
        StatusCode::PARTIAL_CONTENT if begins_at(&response) == Some(begun) => 0,
        StatusCode::PARTIAL_CONTENT => {
            let cause = "the registry sent another part than was asked for".to_owned();
            return Err(PullProblem::Broken { what: what.to_owned(), attempts: 1, cause });
        }
        StatusCode::RANGE_NOT_SATISFIABLE => return Err(truncated(begun)),
        _ => begun,
    };
    loop {
        let bytes = match response.chunk().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break,
            Err(error) => {
                let cause = http::root_cause(&error);
                return Err(PullProblem::Broken { what: what.to_owned(), attempts: 1, cause });
            }
        };
        let passed = skip.min(bytes.len() as u64);
        skip -= passed;
        let bytes = bytes.slice(usize::try_from(passed).unwrap_or(bytes.len())..);
        let wanted = blob.size - sink.position();
        if bytes.len() as u64 > wanted {
            // More than the manifest says: then it is not what the manifest means either.
            return Err(PullProblem::WrongDigest { what: what.to_owned() });
        }
        let read = bytes.len() as u64;
        if read > 0 {
            sink.write(bytes).await?;
            meter.add(read);
        }
    }
    if sink.position() >= blob.size {
        Ok(())
    } else if sized {
        // The answer was complete as such, so another attempt would end there too.
        Err(truncated(sink.position()))
    } else {
        let cause = "the connection was closed".to_owned();
        Err(PullProblem::Broken { what: what.to_owned(), attempts: 1, cause })
    }
}

fn begins_at(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

fn is_mismatch(problem: &PullProblem) -> bool {
    matches!(problem, PullProblem::Store(error)
        if matches!(**error, ImageError::Mismatch { .. } | ImageError::Size { .. }))
}

/// What does not fit its digest is the registry's, not the store's.
fn damaged(problem: PullProblem, what: &str) -> PullProblem {
    if is_mismatch(&problem) { PullProblem::WrongDigest { what: what.to_owned() } } else { problem }
}

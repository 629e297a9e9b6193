//! API keys: who may call over the network, and for which organisation.
//!
//! Two kinds: keys that `ebb key` keeps in a file of the home, and at most one that the daemon is given in its
//! environment for as long as it runs. Every request is checked, so a key that is revoked is of no more use, also
//! on connections that are open; what it was let in for before ends when the file changes.

mod file;
mod secret;
mod watch;

use std::future::pending;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use ebbtide_model::{Invalid, Principal};
use tokio::sync::watch::{Receiver, Sender};
use tracing::{error, warn};

pub use file::{KeyError, KeyFile, KeyRecord, NewKey};
use file::{KnownKeys, Stamp};
use secret::Digest;
use watch::Changes;

/// The shortest key that is taken from the environment. One that can be guessed is none.
const MIN_RUN_KEY_BYTES: usize = 16;
const MAX_KEY_BYTES: usize = 512;

/// A key that holds for as long as a daemon runs.
#[derive(Debug, Clone)]
pub struct RunKey {
    digest: Digest,
    principal: Principal,
}

impl RunKey {
    /// The key `text`, for an organisation.
    ///
    /// # Errors
    /// When the key is too short to be a secret or cannot travel in a header, or the name is none.
    pub fn new(text: &str, organization: &str) -> Result<Self, Invalid> {
        let fits = (MIN_RUN_KEY_BYTES..=MAX_KEY_BYTES).contains(&text.len());
        if !fits || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Invalid::new(
                "EBBTIDE_API_KEY",
                "cannot be a key",
                format!("{MIN_RUN_KEY_BYTES} to {MAX_KEY_BYTES} visible ASCII characters"),
            ));
        }
        let principal = Principal::organisation(organization)
            .map_err(|refused| Invalid { field: "EBBTIDE_ORGANIZATION".to_owned(), ..refused })?;
        Ok(Self { digest: Digest::of(text), principal })
    }
}

/// The keys that a daemon accepts.
#[derive(Debug)]
pub struct Keys {
    run: Option<RunKey>,
    file: KeyFile,
    read: Mutex<Read>,
    changed: Sender<()>,
}

/// A key as a caller has sent it: enough to find out whose it is, and not the key.
#[derive(Debug, Clone)]
pub(crate) struct Presented {
    id: Option<String>,
    /// `None` of what is too long to be a key.
    digest: Option<Digest>,
}

impl Presented {
    pub(crate) fn new(key: &str) -> Self {
        let digest = (key.len() <= MAX_KEY_BYTES).then(|| Digest::of(key));
        Self { id: digest.and_then(|_| secret::id_of(key)).map(str::to_owned), digest }
    }
}

/// The file as it was read last.
#[derive(Debug, Default)]
struct Read {
    stamp: Option<Stamp>,
    known: KnownKeys,
}

impl Keys {
    /// The keys in `file`, and one for this run.
    pub fn new(run: Option<RunKey>, file: PathBuf) -> Self {
        Self { run, file: KeyFile::new(file), read: Mutex::default(), changed: Sender::default() }
    }

    /// Whether there is any key at all.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn is_empty(&self) -> Result<bool, KeyError> {
        Ok(self.run.is_none() && self.file.list()?.is_empty())
    }

    /// Whom a key speaks for; `None` if it is not known.
    pub(crate) fn owner(&self, key: &Presented) -> Option<Principal> {
        let presented = key.digest?;
        // What is not secret, the id, finds the one digest to compare with.
        let kept = key.id.as_deref().and_then(|id| self.kept(id));
        let (digest, principal) = match (&kept, &self.run) {
            (Some(known), _) => (known.digest, &known.principal),
            (None, Some(run)) => (run.digest, &run.principal),
            (None, None) => return None,
        };
        digest.is(&presented).then(|| principal.clone())
    }

    /// Tells when the file has changed, while somebody watches it.
    pub(crate) fn changes(&self) -> Receiver<()> {
        self.changed.subscribe()
    }

    /// Watches the file; never returns.
    pub(crate) async fn watch(&self) {
        let changes = match Changes::beside(self.file.path()) {
            Ok(changes) => changes,
            Err(error) => {
                warn!(%error, "cannot watch the keys; a call under way goes on although its key is revoked");
                return pending().await;
            }
        };
        let mut stamp = self.file.stamp();
        // What changed before this began is heard of, too.
        self.changed.send_replace(());
        loop {
            changes.next().await;
            let now = self.file.stamp();
            if now != stamp {
                stamp = now;
                self.changed.send_replace(());
            }
        }
    }

    /// The key with this id, as the file has it now. A file that cannot be read holds none.
    fn kept(&self, id: &str) -> Option<file::KnownKey> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.file.stamp();
        if stamp.is_none() || stamp != read.stamp {
            *read = match self.file.read() {
                Ok((stamp, known)) => Read { stamp, known },
                Err(failure) => {
                    error!(%failure, "no key of the home is accepted");
                    Read { stamp, known: KnownKeys::default() }
                }
            };
        }
        read.known.get(id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(run: Option<RunKey>) -> (tempfile::TempDir, KeyFile, Keys) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        (dir, KeyFile::new(path.clone()), Keys::new(run, path))
    }

    impl Keys {
        fn principal(&self, key: &str) -> Option<Principal> {
            self.owner(&Presented::new(key))
        }
    }

    fn organisation(name: &str) -> Option<Principal> {
        Some(Principal::organisation(name).unwrap())
    }

    #[test]
    fn a_key_speaks_for_its_organisation_until_it_is_revoked() {
        let (_dir, file, keys) = keys(None);
        assert!(keys.is_empty().unwrap());
        let first = file.create("one", "").unwrap();
        let second = file.create("two", "ci").unwrap();
        assert!(!keys.is_empty().unwrap());
        assert_eq!(keys.principal(&first.secret), organisation("one"));
        assert_eq!(keys.principal(&second.secret), organisation("two"));
        file.revoke(&first.record.id).unwrap();
        assert_eq!(keys.principal(&first.secret), None);
        assert_eq!(keys.principal(&second.secret), organisation("two"));
    }

    #[test]
    fn a_key_with_another_secret_or_another_id_is_not_known() {
        let (_dir, file, keys) = keys(None);
        let [first, second] = ["one", "two"].map(|name| file.create(name, "").unwrap());
        let swapped = first.secret.replace(&first.record.id, &second.record.id);
        let (cut, longer) = (&first.secret[..first.secret.len() - 1], format!("{}a", first.secret));
        for wrong in ["", "x", "ebb_", &swapped, cut, &longer, &"x".repeat(10_000)] {
            assert_eq!(keys.principal(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_key_of_a_run_stands_beside_those_of_the_file() {
        let run = RunKey::new("0123456789abcdef", "mine").unwrap();
        let (_dir, file, keys) = keys(Some(run));
        let kept = file.create("one", "").unwrap();
        assert!(!keys.is_empty().unwrap());
        assert_eq!(keys.principal("0123456789abcdef"), organisation("mine"));
        assert_eq!(keys.principal(&kept.secret), organisation("one"));
        assert_eq!(keys.principal("0123456789abcdeF"), None);
    }

    #[test]
    fn a_file_that_cannot_be_read_lets_nobody_in() {
        let (dir, file, keys) = keys(None);
        let key = file.create("one", "").unwrap();
        assert!(keys.principal(&key.secret).is_some());
        std::fs::write(dir.path().join("keys.json"), "{").unwrap();
        assert_eq!(keys.principal(&key.secret), None);
        assert!(keys.is_empty().is_err());
    }

    #[test]
    fn a_key_for_a_run_that_could_be_guessed_is_refused() {
        for text in ["", "short", "with a space in it", "tab\tin it, and long", "umlauts äöü are here"] {
            assert_eq!(RunKey::new(text, "x").unwrap_err().field, "EBBTIDE_API_KEY", "{text:?}");
        }
        assert_eq!(RunKey::new("0123456789abcdef", "a b").unwrap_err().field, "EBBTIDE_ORGANIZATION");
    }
}

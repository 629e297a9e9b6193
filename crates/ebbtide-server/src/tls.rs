//! TLS on the network: the certificate and its key, read anew when their files change.
//!
//! Every new connection looks whether they did, so a renewed certificate needs neither a signal nor a restart. Two
//! files cannot be replaced at once: a pair that does not fit, or cannot be read, leaves the one before in use.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tracing::{info, warn};

/// Where the certificate is and its key, both in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those that lead from it to an authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why there is no TLS.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read or holds something else.
    #[error("cannot read {what} from {}: {detail}", path.display())]
    File {
        /// What was looked for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// They are not a pair, or of a kind that is not known.
    #[error("the certificate in {} cannot be used with the key in {}: {source}", cert.display(), key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
}

/// Both files as they were when they were read: which they are, their sizes and when they changed.
type Stamp = [Option<(u64, u64, i64, i64)>; 2];

/// The pair in use.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    pair: Mutex<Pair>,
}

struct Pair {
    /// Of the files that were tried last, also when they could not be used.
    stamp: Stamp,
    config: Arc<ServerConfig>,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the pair.
    pub(crate) fn open(files: &TlsFiles) -> Result<Self, TlsError> {
        // Before the content: what changes while it is read is read again.
        let stamp = files.stamp();
        let pair = Mutex::new(Pair { stamp, config: files.read()? });
        Ok(Self { files: files.clone(), pair })
    }

    /// What makes TLS of a connection, with the pair as it is now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut pair = self.pair.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.files.stamp();
        if stamp != pair.stamp {
            pair.stamp = stamp;
            match self.files.read() {
                Ok(config) => {
                    pair.config = config;
                    info!(cert = %self.files.cert.display(), "using the new certificate");
                }
                Err(error) => warn!(%error, "staying with the certificate that is in use"),
            }
        }
        TlsAcceptor::from(Arc::clone(&pair.config))
    }
}

impl TlsFiles {
    fn stamp(&self) -> Stamp {
        [&self.cert, &self.key].map(|path| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
        })
    }

    fn read(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = CertificateDer::pem_file_iter(&self.cert)
            .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
            .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
            .map_err(|error| unreadable("a certificate", &self.cert, error))?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| unreadable("a private key", &self.key, error))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key));
        let mut config = config.map_err(|source| TlsError::Pair {
            cert: self.cert.clone(),
            key: self.key.clone(),
            source,
        })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

fn unreadable(what: &'static str, path: &Path, error: pem::Error) -> TlsError {
    let detail = match error {
        pem::Error::NoItemsFound => "there is none in PEM form".to_owned(),
        pem::Error::Io(error) if error.kind() == io::ErrorKind::NotFound => "no such file".to_owned(),
        error => error.to_string(),
    };
    TlsError::File { what, path: path.to_owned(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path) -> TlsFiles {
        TlsFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") }
    }

    /// Writes a new certificate and key as one asks.
    fn write(files: &TlsFiles, cert: bool, key: bool) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        if cert {
            std::fs::write(&files.cert, made.cert.pem()).unwrap();
        }
        if key {
            std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        }
    }

    fn in_use(tls: &Tls) -> Arc<ServerConfig> {
        Arc::clone(tls.acceptor().config())
    }

    #[test]
    fn a_new_pair_is_used_from_the_next_connection_on_and_a_broken_one_never() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        write(&files, true, true);
        let tls = Tls::open(&files).unwrap();
        let first = in_use(&tls);
        assert!(Arc::ptr_eq(&first, &in_use(&tls)));
        write(&files, true, false);
        assert!(Arc::ptr_eq(&first, &in_use(&tls)), "a certificate without its key is in use");
        std::fs::write(&files.cert, "nonsense").unwrap();
        assert!(Arc::ptr_eq(&first, &in_use(&tls)));
        std::fs::remove_file(&files.cert).unwrap();
        assert!(Arc::ptr_eq(&first, &in_use(&tls)));
        write(&files, true, true);
        assert!(!Arc::ptr_eq(&first, &in_use(&tls)), "the new pair is not in use");
    }

    #[test]
    fn what_is_wrong_is_said_of_the_file_that_it_is_in() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let refused = |named: &str| {
            let error = Tls::open(&files).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        };
        refused("cert.pem: no such file");
        std::fs::write(&files.cert, "nonsense").unwrap();
        refused("a certificate from");
        write(&files, true, false);
        refused("key.pem: no such file");
        std::fs::write(&files.key, std::fs::read(&files.cert).unwrap()).unwrap();
        refused("a private key from");
        write(&files, false, true);
        assert!(matches!(Tls::open(&files), Err(TlsError::Pair { .. })));
    }
}

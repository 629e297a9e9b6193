//! Where the credentials for an image's registry are.

use serde::{Deserialize, Serialize};

use crate::{Invalid, Limits};

/// Where the credentials for a registry are: a secret store of the daemon's and a place in it, never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PullCredentials {
    /// The registry that they are for, e.g. `registry.example:5000`. They are shown to no other.
    pub registry: String,
    /// The secret store.
    pub store: String,
    /// The secret in it.
    pub path: String,
    /// A field of the secret; empty for the whole of it.
    pub field: String,
}

impl PullCredentials {
    /// Checks what can be checked without the store.
    ///
    /// # Errors
    /// When a part is missing, too long or holds a NUL byte.
    pub(crate) fn validate(&self, limits: &Limits) -> Result<(), Invalid> {
        let Self { registry, store, path, field } = self;
        for (name, text, least) in
            [("registry", registry, 1), ("store", store, 1), ("path", path, 1), ("field", field, 0)]
        {
            let name = format!("pull_credentials.{name}");
            if text.contains('\0') {
                return Err(Invalid::new(name, "holds a NUL byte", "text without NUL bytes"));
            }
            if !(least..=limits.max_name_bytes).contains(&text.len()) {
                let accepted = format!("{least} to {} bytes", limits.max_name_bytes);
                return Err(Invalid::new(name, format!("has {} bytes", text.len()), accepted));
            }
        }
        Ok(())
    }
}

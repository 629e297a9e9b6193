//! From the place of a secret to a name and a password, for one registry and no other.

use ebbtide_image::{Credentials, SecretError, SecretSource, SecretStores, canonical_registry};
use ebbtide_model::{Invalid, PullCredentials};

use super::Meaning;

/// Credentials, and the registry that they are for.
pub(super) struct Named {
    registry: String,
    credentials: Credentials,
}

impl Named {
    /// Reads them.
    pub(super) fn read(secrets: &SecretStores, named: &PullCredentials) -> Result<Self, SecretError> {
        let PullCredentials { registry, store, path, field } = named.clone();
        let source = SecretSource { store_name: store, path, field };
        let credentials = secrets.credentials(&source, &registry).map_err(|error| match error {
            SecretError::Invalid(invalid) => located(invalid).into(),
            error => error,
        })?;
        Ok(Self { registry: canonical_registry(&registry).to_owned(), credentials })
    }

    /// The credentials, if they are for `registry`.
    pub(super) fn for_registry(&self, registry: &str) -> Option<&Credentials> {
        (self.registry == canonical_registry(registry)).then_some(&self.credentials)
    }
}

/// Checks credentials before anything is recorded: that they are for the registry of the image or of what its alias
/// leads to, and that they are there.
pub(super) fn check(secrets: &SecretStores, named: &PullCredentials, image: &Meaning) -> Result<(), Invalid> {
    let registries: Vec<&str> =
        image.asked.iter().chain(&image.image).map(|name| canonical_registry(name.registry())).collect();
    if !registries.contains(&canonical_registry(&named.registry)) {
        let problem = format!("{:?} is not the registry of the image", named.registry);
        return Err(Invalid::new("pull_credentials.registry", problem, registries.join(" or ")));
    }
    match Named::read(secrets, named) {
        Err(SecretError::Invalid(invalid)) => Err(invalid),
        // That a store cannot be read is no fault of the request; the create fails with it.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The refusal of credentials for the one image that comes from no registry.
pub(super) fn not_for_the_host() -> Invalid {
    Invalid::new(
        "pull_credentials",
        "are given for the host's own programs",
        "none; no registry is asked for them",
    )
}

/// The same refusal with the field's name in the model.
fn located(refused: Invalid) -> Invalid {
    let field = match refused.field.as_str() {
        "credentials.store_name" => "pull_credentials.store".to_owned(),
        "credentials.path" => "pull_credentials.path".to_owned(),
        "credentials.field" => "pull_credentials.field".to_owned(),
        other => format!("pull_credentials.{other}"),
    };
    Invalid { field, ..refused }
}

//! What new sandboxes are to be like, and how what one call says is laid over what holds for all.

use std::collections::BTreeMap;
use std::time::Duration;

use ebbtide_model::{HOST_IMAGE, Invalid, MAIN_ANNOTATION, MAIN_IDLE, OwnerProcess};
use ebbtide_proto::coreweave::sandbox::v1 as wire;

use crate::{Error, Resources};

/// A file that a sandbox has from its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountedFile {
    /// Its absolute path.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// Where the daemon finds the credentials for an image's registry: in one of its secret stores. They do not travel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullCredentials {
    /// The registry that they are for, e.g. `registry.example:5000`.
    pub registry: String,
    /// The secret store.
    pub store: String,
    /// The secret in it.
    pub path: String,
    /// A field of the secret; empty for the whole of it.
    pub field: String,
}

impl PullCredentials {
    fn into_message(self) -> wire::ImagePullCredentials {
        let Self { registry, store: store_name, path, field } = self;
        let credentials = Some(wire::SecretSource { store_name, path, field });
        wire::ImagePullCredentials { registry, credentials }
    }
}

/// What new sandboxes are to be like. What is left out is the daemon's choice.
///
/// ```
/// use ebbtide::SandboxDefaults;
///
/// let all = SandboxDefaults { tags: vec!["nightly".into()], ..SandboxDefaults::default() };
/// let one = SandboxDefaults { tags: vec!["gpu".into()], image: Some("host".into()), ..Default::default() };
/// assert_eq!(all.overridden_by(one).tags, ["nightly", "gpu"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SandboxDefaults {
    /// The image; the daemon's is `host`, the machine's own programs.
    pub image: Option<String>,
    /// Where the credentials for the image's registry are, if it wants some.
    pub pull_credentials: Option<PullCredentials>,
    /// The program of the main command. Without one, and without arguments, the sandbox idles until it is stopped,
    /// whatever its image says.
    pub command: Option<String>,
    /// The arguments of the main command; without a program of its own, of the image's.
    pub args: Option<Vec<String>>,
    /// The directory that commands start in.
    pub working_dir: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The environment of its commands.
    pub env: BTreeMap<String, String>,
    /// Free key-value pairs.
    pub annotations: BTreeMap<String, String>,
    /// What it may use.
    pub resources: Option<Resources>,
    /// Files that it has from the beginning.
    pub mounted_files: Option<Vec<MountedFile>>,
    /// The runners that may run it; `Some` of nothing clears what was there.
    pub runner_ids: Option<Vec<String>>,
    /// How long it may live, in whole seconds.
    pub max_lifetime: Option<Duration>,
    /// How long it may take to start; 300 s by default.
    pub start_timeout: Option<Duration>,
    /// Whether it lives on without this process: nothing here ends it then but a call of `stop`.
    pub detached: Option<bool>,
}

impl SandboxDefaults {
    /// These, with what `call` says laid over them. Tags are appended, environment and annotations are merged by
    /// key, of everything else `call`'s value replaces the default if it has one.
    #[must_use]
    pub fn overridden_by(mut self, call: Self) -> Self {
        self.tags.extend(call.tags);
        self.env.extend(call.env);
        self.annotations.extend(call.annotations);
        Self {
            image: call.image.or(self.image),
            pull_credentials: call.pull_credentials.or(self.pull_credentials),
            command: call.command.or(self.command),
            args: call.args.or(self.args),
            working_dir: call.working_dir.or(self.working_dir),
            tags: self.tags,
            env: self.env,
            annotations: self.annotations,
            resources: call.resources.or(self.resources),
            mounted_files: call.mounted_files.or(self.mounted_files),
            runner_ids: call.runner_ids.or(self.runner_ids),
            max_lifetime: call.max_lifetime.or(self.max_lifetime),
            start_timeout: call.start_timeout.or(self.start_timeout),
            detached: call.detached.or(self.detached),
        }
    }

    /// The request for a sandbox like this, which belongs to `owner`.
    pub(crate) fn spec(self, owner: Option<OwnerProcess>) -> Result<wire::SandboxSpec, Error> {
        let mut annotations = self.annotations;
        if let Some(owner) = owner {
            owner.annotate(&mut annotations);
        }
        let (command, args) = (self.command.unwrap_or_default(), self.args.unwrap_or_default());
        let image = self.image.unwrap_or_else(|| HOST_IMAGE.to_owned());
        // The host has no command of its own, so nothing need be said there.
        if command.is_empty() && args.is_empty() && image != HOST_IMAGE {
            annotations.entry(MAIN_ANNOTATION.to_owned()).or_insert_with(|| MAIN_IDLE.to_owned());
        }
        let files = self.mounted_files.unwrap_or_default();
        let container = wire::Container {
            name: "main".to_owned(),
            image,
            image_pull_credentials: self.pull_credentials.map(PullCredentials::into_message),
            command,
            args,
            environment_variables: self.env.into_iter().collect(),
            files: files
                .into_iter()
                .map(|file| wire::FileMount { path: file.path, content: file.content.into() })
                .collect(),
            working_dir: self.working_dir.unwrap_or_default(),
            resource_requirements: self.resources.map(Resources::into_message),
            ..Default::default()
        };
        Ok(wire::SandboxSpec {
            containers: vec![container],
            max_lifetime_seconds: self.max_lifetime.map(lifetime).transpose()?.unwrap_or_default(),
            tags: self.tags,
            runner_ids: self.runner_ids.unwrap_or_default(),
            annotations: annotations.into_iter().collect(),
            ..Default::default()
        })
    }
}

/// On the wire zero means the daemon's default, so less than a second cannot be asked for.
fn lifetime(lifetime: Duration) -> Result<i32, Invalid> {
    i32::try_from(lifetime.as_secs()).ok().filter(|seconds| *seconds > 0).ok_or_else(|| {
        Invalid::new("max_lifetime", format!("{lifetime:?} is out of range"), "1 s to 2147483647 s")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn tags_are_appended_and_maps_merged_by_key() {
        let all = SandboxDefaults {
            tags: vec!["a".into(), "b".into()],
            env: map(&[("X", "1"), ("Y", "1")]),
            annotations: map(&[("k", "1")]),
            ..Default::default()
        };
        let call = SandboxDefaults {
            tags: vec!["b".into()],
            env: map(&[("Y", "2")]),
            annotations: map(&[("l", "2")]),
            ..Default::default()
        };
        let merged = all.overridden_by(call);
        assert_eq!(merged.tags, ["a", "b", "b"]);
        assert_eq!(merged.env, map(&[("X", "1"), ("Y", "2")]));
        assert_eq!(merged.annotations, map(&[("k", "1"), ("l", "2")]));
    }

    #[test]
    fn everything_else_is_replaced_only_by_what_the_call_says() {
        let all = SandboxDefaults {
            image: Some("i".into()),
            command: Some("c".into()),
            args: Some(vec!["x".into()]),
            runner_ids: Some(vec!["r".into()]),
            max_lifetime: Some(Duration::from_secs(9)),
            ..Default::default()
        };
        assert_eq!(all.clone().overridden_by(SandboxDefaults::default()), all);
        let call =
            SandboxDefaults { command: Some("d".into()), runner_ids: Some(Vec::new()), ..Default::default() };
        let merged = all.overridden_by(call);
        assert_eq!((merged.command.as_deref(), merged.args), (Some("d"), Some(vec!["x".into()])));
        assert_eq!((merged.image.as_deref(), merged.runner_ids), (Some("i"), Some(Vec::new())));
    }

    #[test]
    fn what_says_nothing_asks_for_the_hosts_programs_and_an_idle_sandbox() {
        let spec = SandboxDefaults::default().spec(None).unwrap();
        assert_eq!((spec.containers[0].image.as_str(), spec.containers[0].command.as_str()), ("host", ""));
        assert!(spec.annotations.is_empty());
    }

    #[test]
    fn a_sandbox_without_a_command_is_told_to_idle_where_its_image_might_have_one() {
        let told = |image: &str, command: Option<&str>, args: Option<&str>| {
            let defaults = SandboxDefaults {
                image: Some(image.to_owned()),
                command: command.map(str::to_owned),
                args: args.map(|word| vec![word.to_owned()]),
                ..Default::default()
            };
            defaults.spec(None).unwrap().annotations.get(MAIN_ANNOTATION).cloned()
        };
        assert_eq!(told("python:3.11", None, None).as_deref(), Some(MAIN_IDLE));
        for silent in [
            told("host", None, None),
            told("python:3.11", Some("sh"), None),
            told("python:3.11", None, Some("-V")),
        ] {
            assert_eq!(silent, None);
        }
    }

    #[test]
    fn a_lifetime_that_would_mean_the_default_is_refused() {
        for refused in [Duration::ZERO, Duration::from_millis(999), Duration::MAX] {
            let spec = SandboxDefaults { max_lifetime: Some(refused), ..Default::default() }.spec(None);
            assert!(matches!(spec, Err(Error::Invalid(invalid)) if invalid.field == "max_lifetime"));
        }
    }
}

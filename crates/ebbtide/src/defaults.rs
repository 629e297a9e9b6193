//! What new sandboxes are to be like, and how what one call says is laid over what holds for all.

use std::collections::BTreeMap;
use std::time::Duration;

use ebbtide_model::{
    DETACH_ANNOTATION, HOST_IMAGE, IDLE_TIMEOUT_ANNOTATION, Invalid, KEEP_ANNOTATION, KEEP_AS_ANNOTATION,
    KEEP_FOR_ANNOTATION, Keep, KeepAs, MAIN_ANNOTATION, MAIN_IDLE, ON_IDLE_ANNOTATION,
    ORPHAN_GRACE_ANNOTATION, OnIdle, OwnerProcess,
};
use ebbtide_proto::coreweave::sandbox::v1 as wire;

use crate::{Error, Resources, keep};

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
    pub detach: Option<bool>,
    /// How long it lives on after its owner, in whole seconds, for others to adopt it; 60 s by default.
    pub orphan_grace: Option<Duration>,
    /// When a clean-up that nobody asked for by name spares it; never by default. `EBBTIDE_KEEP_SANDBOX` overrides it.
    pub keep: Option<Keep>,
    /// For how long it is kept then, in whole seconds; an hour by default.
    pub keep_for: Option<Duration>,
    /// What of it is kept; all of it, frozen, by default.
    pub keep_as: Option<KeepAs>,
    /// After how long without use it is idle, in whole seconds; never by default.
    pub idle_timeout: Option<Duration>,
    /// What becomes of it when it is idle; it ends by default.
    pub on_idle: Option<OnIdle>,
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
            detach: call.detach.or(self.detach),
            orphan_grace: call.orphan_grace.or(self.orphan_grace),
            keep: call.keep.or(self.keep),
            keep_for: call.keep_for.or(self.keep_for),
            keep_as: call.keep_as.or(self.keep_as),
            idle_timeout: call.idle_timeout.or(self.idle_timeout),
            on_idle: call.on_idle.or(self.on_idle),
        }
    }

    /// What is to become of it, as annotations.
    fn policy(&self) -> Result<Vec<(String, String)>, Error> {
        let keep = match keep::from_env()? {
            None => self.keep,
            said => said,
        };
        let grace = self.orphan_grace.map(|grace| seconds("orphan_grace", grace, 0)).transpose()?;
        let keep_for = self.keep_for.map(|length| seconds("keep_for", length, 1)).transpose()?;
        let idle = self.idle_timeout.map(|timeout| seconds("idle_timeout", timeout, 1)).transpose()?;
        let said = [
            (DETACH_ANNOTATION, self.detach.filter(|detach| *detach).map(|_| "true".to_owned())),
            (ORPHAN_GRACE_ANNOTATION, grace),
            (KEEP_ANNOTATION, keep.map(|keep| keep.to_string())),
            (KEEP_FOR_ANNOTATION, keep_for),
            (KEEP_AS_ANNOTATION, self.keep_as.map(|kept| kept.to_string())),
            (IDLE_TIMEOUT_ANNOTATION, idle),
            (ON_IDLE_ANNOTATION, self.on_idle.map(|then| then.to_string())),
        ];
        Ok(said.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
    }

    /// The request for a sandbox like this, which belongs to `owner`.
    pub(crate) fn spec(self, owner: Option<OwnerProcess>) -> Result<wire::SandboxSpec, Error> {
        let policy = self.policy()?;
        let mut annotations = self.annotations;
        annotations.extend(policy);
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

/// Whole seconds, at least so many.
fn seconds(name: &str, duration: Duration, least: u64) -> Result<String, Invalid> {
    if duration.subsec_nanos() == 0 && duration.as_secs() >= least {
        return Ok(duration.as_secs().to_string());
    }
    Err(Invalid::new(
        name,
        format!("{duration:?} is out of range"),
        format!("whole seconds, {least} or more"),
    ))
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
    fn what_is_to_become_of_it_travels_as_annotations_and_only_where_it_was_said() {
        let wanted = SandboxDefaults {
            detach: Some(true),
            orphan_grace: Some(Duration::ZERO),
            keep: Some(Keep::OnFailure),
            keep_for: Some(Duration::from_secs(90)),
            keep_as: Some(KeepAs::Files),
            idle_timeout: Some(Duration::from_secs(7)),
            on_idle: Some(OnIdle::Pause),
            ..Default::default()
        };
        let said: BTreeMap<_, _> = wanted.spec(None).unwrap().annotations.into_iter().collect();
        let policy = ebbtide_model::Policy::from_annotations(&said, &Default::default()).unwrap();
        assert_eq!((policy.detach, policy.orphan_grace), (true, Duration::ZERO));
        assert_eq!((policy.keep, policy.keep_as), (Keep::OnFailure, KeepAs::Files));
        assert_eq!((policy.keep_for.as_secs(), policy.on_idle), (90, OnIdle::Pause));
        assert_eq!(policy.idle_timeout, Some(Duration::from_secs(7)));
        let owned = SandboxDefaults { detach: Some(false), ..Default::default() };
        assert!(owned.spec(None).unwrap().annotations.is_empty());
    }

    #[test]
    fn a_time_that_cannot_be_told_exactly_is_refused_by_name() {
        let half = Some(Duration::from_millis(500));
        for (field, refused) in [
            ("orphan_grace", SandboxDefaults { orphan_grace: half, ..Default::default() }),
            ("keep_for", SandboxDefaults { keep_for: Some(Duration::ZERO), ..Default::default() }),
            ("idle_timeout", SandboxDefaults { idle_timeout: half, ..Default::default() }),
        ] {
            let spec = refused.spec(None);
            assert!(matches!(spec, Err(Error::Invalid(invalid)) if invalid.field == field), "{field}");
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

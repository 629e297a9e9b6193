//! What a caller asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::mounted_file::{self, MountedFile};
use crate::{Invalid, Limits, OwnerProcess, Policy, PullCredentials, Resources};

/// The image that every machine has: an allow-list of the host's own directories.
pub const HOST_IMAGE: &str = "host";
/// The annotation that says what a sandbox without a command does: [`MAIN_IDLE`], or what its image says if it is absent.
pub const MAIN_ANNOTATION: &str = "ebbtide.dev/main";
/// The value of [`MAIN_ANNOTATION`] for a sandbox that idles whatever its image says.
pub const MAIN_IDLE: &str = "idle";

/// A command with its arguments and environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Program and arguments. The program is looked up in `PATH` if it holds no `/`.
    pub argv: Vec<String>,
    /// Environment on top of the image's.
    pub env: BTreeMap<String, String>,
    /// Working directory, absolute; `None` for the image's.
    pub working_dir: Option<String>,
}

impl Command {
    /// Checks what can be checked without a sandbox.
    ///
    /// # Errors
    /// When the command is empty, too large, holds a NUL byte or has a working directory that is not absolute.
    pub fn validate(&self, limits: &Limits) -> Result<(), Invalid> {
        if self.argv.first().is_none_or(String::is_empty) {
            return Err(Invalid::new("command", "is empty", "a program and its arguments"));
        }
        self.validate_parts(&[], limits)
    }

    /// Checks everything but the program, with arguments that are given without one.
    fn validate_parts(&self, args: &[String], limits: &Limits) -> Result<(), Invalid> {
        let mut bytes = 0;
        for (field, words) in [("command", self.argv.as_slice()), ("args", args)] {
            for (index, word) in words.iter().enumerate() {
                no_nul(&format!("{field}[{index}]"), word)?;
                bytes += word.len() + 1;
            }
        }
        for (key, value) in &self.env {
            if key.is_empty() || key.contains('=') {
                return Err(Invalid::new("env", format!("{key:?} is not a name"), "a name without '='"));
            }
            no_nul("env", key)?;
            no_nul(&format!("env[{key}]"), value)?;
            bytes += key.len() + value.len() + 2;
        }
        if bytes > limits.max_command_bytes {
            return Err(Invalid::new(
                if args.is_empty() { "command" } else { "args" },
                format!("arguments and environment take {bytes} bytes"),
                format!("at most {} bytes", limits.max_command_bytes),
            ));
        }
        if let Some(dir) = &self.working_dir {
            no_nul("working_dir", dir)?;
            if !dir.starts_with('/') || dir.len() > 4095 {
                return Err(Invalid::new("working_dir", "is not an absolute path", "an absolute path"));
            }
        }
        Ok(())
    }
}

/// What a caller asks for: one sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// The name of the container, echoed back; `main` if the caller gave none.
    pub container_name: String,
    /// The image, as the caller wrote it.
    pub image: String,
    /// The main command. An empty `argv` leaves the program to the image; one that names none makes the sandbox idle
    /// until it is stopped.
    pub main: Command,
    /// Arguments for the image's own program, where `main` names none.
    #[serde(default)]
    pub args: Vec<String>,
    /// Where the credentials for the image's registry are, if it wants some.
    #[serde(default)]
    pub pull_credentials: Option<PullCredentials>,
    /// What it may use, as the caller wrote it.
    pub resources: Resources,
    /// Words to find it by. A listing matches all given ones.
    pub tags: Vec<String>,
    /// Free key-value pairs; keys under `ebbtide.dev/` mean something to Ebbtide.
    pub annotations: BTreeMap<String, String>,
    /// How long it may live; `None` for the daemon's default.
    pub max_lifetime: Option<Duration>,
    /// Files that are there, read-only, before the main command starts.
    #[serde(default)]
    pub mounted_files: Vec<MountedFile>,
}

impl SandboxSpec {
    /// A spec for `image` with everything else at its default: no command, no tags.
    pub fn new(image: impl Into<String>) -> Self {
        Self {
            container_name: "main".to_owned(),
            image: image.into(),
            main: Command::default(),
            args: Vec::new(),
            pull_credentials: None,
            resources: Resources::default(),
            tags: Vec::new(),
            annotations: BTreeMap::new(),
            max_lifetime: None,
            mounted_files: Vec::new(),
        }
    }

    /// Checks everything that can be checked without touching the machine.
    ///
    /// # Errors
    /// The first field that is out of range.
    pub fn validate(&self, limits: &Limits) -> Result<(), Invalid> {
        name("image", &self.image, limits)?;
        name("container.name", &self.container_name, limits)?;
        if self.main.argv.is_empty() {
            self.main.validate_parts(&self.args, limits)?;
        } else if self.args.is_empty() {
            self.main.validate(limits)?;
        } else {
            return Err(Invalid::new("args", "are given beside a whole command", "one of the two"));
        }
        self.validate_main_annotation()?;
        self.pull_credentials.as_ref().map_or(Ok(()), |credentials| credentials.validate(limits))?;
        if self.tags.len() > limits.max_tags {
            return Err(Invalid::new("tags", "are too many", format!("at most {}", limits.max_tags)));
        }
        for tag in &self.tags {
            name("tags", tag, limits)?;
        }
        for (key, value) in &self.annotations {
            name("annotations", key, limits)?;
            if value.len() > limits.max_annotation_bytes {
                return Err(Invalid::new(
                    format!("annotations[{key}]"),
                    format!("takes {} bytes", value.len()),
                    format!("at most {} bytes", limits.max_annotation_bytes),
                ));
            }
        }
        OwnerProcess::from_annotations(&self.annotations)?;
        Policy::from_annotations(&self.annotations, limits)?;
        mounted_file::validate(&self.mounted_files, limits)?;
        if let Some(lifetime) = self.max_lifetime
            && (lifetime.is_zero() || lifetime > limits.max_lifetime)
        {
            return Err(Invalid::new(
                "max_lifetime_seconds",
                format!("{} is out of range", lifetime.as_secs()),
                format!("1 to {}", limits.max_lifetime.as_secs()),
            ));
        }
        Ok(())
    }

    /// Whether it idles whatever its image says.
    pub fn must_idle(&self) -> bool {
        self.annotations.contains_key(MAIN_ANNOTATION)
    }

    fn validate_main_annotation(&self) -> Result<(), Invalid> {
        let Some(value) = self.annotations.get(MAIN_ANNOTATION) else { return Ok(()) };
        let problem = if value != MAIN_IDLE {
            format!("{value:?} is no such thing")
        } else if !self.main.argv.is_empty() || !self.args.is_empty() {
            "a sandbox with a command does not idle".to_owned()
        } else {
            return Ok(());
        };
        let accepted = format!("{MAIN_IDLE:?}, and no command");
        Err(Invalid::new(format!("annotations[{MAIN_ANNOTATION}]"), problem, accepted))
    }

    /// How long the sandbox may live: its own lifetime, or the default for one with or without an owner.
    pub fn lifetime(&self, owned: bool, limits: &Limits) -> Duration {
        self.max_lifetime.unwrap_or(if owned { limits.max_lifetime } else { limits.unowned_lifetime })
    }
}

fn no_nul(field: &str, text: &str) -> Result<(), Invalid> {
    if text.contains('\0') {
        return Err(Invalid::new(field, "holds a NUL byte", "text without NUL bytes"));
    }
    Ok(())
}

fn name(field: &str, text: &str, limits: &Limits) -> Result<(), Invalid> {
    no_nul(field, text)?;
    if text.is_empty() || text.len() > limits.max_name_bytes {
        return Err(Invalid::new(
            field,
            format!("has {} bytes", text.len()),
            format!("1 to {} bytes", limits.max_name_bytes),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut SandboxSpec)) -> String {
        let mut spec = SandboxSpec::new(HOST_IMAGE);
        change(&mut spec);
        spec.validate(&Limits::default()).unwrap_err().field
    }

    #[test]
    fn a_plain_spec_is_accepted() {
        SandboxSpec::new(HOST_IMAGE).validate(&Limits::default()).unwrap();
    }

    #[test]
    fn each_refusal_names_its_field() {
        assert_eq!(refused(|s| s.image = String::new()), "image");
        assert_eq!(refused(|s| s.main.argv = vec![String::new()]), "command");
        assert_eq!(refused(|s| s.main.argv = vec!["a\0b".into()]), "command[0]");
        assert_eq!(refused(|s| s.main.argv = vec!["x".repeat(2 << 20)]), "command");
        assert_eq!(refused(|s| s.main.working_dir = Some("relative".into())), "working_dir");
        assert_eq!(refused(|s| drop(s.main.env.insert("A=B".into(), String::new()))), "env");
        assert_eq!(refused(|s| s.tags = vec![String::new()]), "tags");
        assert_eq!(refused(|s| s.tags = vec!["t".into(); 65]), "tags");
        assert_eq!(refused(|s| s.args = vec!["a\0b".into()]), "args[0]");
        assert_eq!(refused(|s| s.args = vec!["x".repeat(2 << 20)]), "args");
        assert_eq!(refused(|s| (s.main.argv, s.args) = (vec!["a".into()], vec!["b".into()])), "args");
        assert_eq!(refused(|s| s.pull_credentials = Some(credentials("", "p"))), "pull_credentials.registry");
        assert_eq!(refused(|s| s.pull_credentials = Some(credentials("r", "\0"))), "pull_credentials.path");
        assert_eq!(refused(|s| s.max_lifetime = Some(Duration::ZERO)), "max_lifetime_seconds");
        assert_eq!(refused(|s| s.max_lifetime = Some(Duration::from_secs(86_401))), "max_lifetime_seconds");
    }

    fn credentials(registry: &str, path: &str) -> PullCredentials {
        let text = str::to_owned;
        PullCredentials { registry: text(registry), store: text("s"), path: text(path), field: String::new() }
    }

    #[test]
    fn a_sandbox_that_is_to_idle_has_no_command() {
        let idle = |value: &str, argv: &[&str], args: &[&str]| {
            let mut spec = SandboxSpec::new("python:3.11");
            spec.annotations.insert(MAIN_ANNOTATION.into(), value.into());
            spec.main.argv = argv.iter().map(|word| (*word).to_owned()).collect();
            spec.args = args.iter().map(|word| (*word).to_owned()).collect();
            spec.validate(&Limits::default()).map(|()| spec.must_idle()).map_err(|refused| refused.field)
        };
        assert_eq!(idle(MAIN_IDLE, &[], &[]), Ok(true));
        for refused in [idle("run", &[], &[]), idle(MAIN_IDLE, &["sh"], &[]), idle(MAIN_IDLE, &[], &["x"])] {
            assert_eq!(refused, Err("annotations[ebbtide.dev/main]".to_owned()));
        }
        assert!(!SandboxSpec::new("python:3.11").must_idle());
    }

    #[test]
    fn a_spec_of_an_earlier_version_is_read() {
        let mut json = serde_json::to_value(SandboxSpec::new(HOST_IMAGE)).unwrap();
        for later in ["args", "pull_credentials", "mounted_files"] {
            json.as_object_mut().unwrap().remove(later).unwrap();
        }
        assert_eq!(serde_json::from_value::<SandboxSpec>(json).unwrap(), SandboxSpec::new(HOST_IMAGE));
    }

    #[test]
    fn a_sandbox_without_an_owner_lives_shorter() {
        let (spec, limits) = (SandboxSpec::new(HOST_IMAGE), Limits::default());
        assert!(spec.lifetime(false, &limits) < spec.lifetime(true, &limits));
    }
}

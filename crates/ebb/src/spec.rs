//! What a new sandbox is to be like, as options of `run` and `create`.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::Args;
use ebbtide::proto::coreweave::sandbox::v1 as wire;
use ebbtide_model::{HOST_IMAGE, Invalid, MAIN_ANNOTATION, MAIN_IDLE, OwnerProcess, Quantity};

use crate::policy::PolicyArgs;

/// What a new sandbox is to be like.
#[derive(Debug, Args)]
pub(crate) struct SpecArgs {
    /// The image of the root file system; it is pulled if it is not here.
    #[arg(long, default_value = HOST_IMAGE)]
    image: String,
    /// A variable of the command's environment; may be repeated.
    #[arg(long = "env", short = 'e', value_name = "K=V")]
    env: Vec<Variable>,
    /// The directory that commands start in, an absolute path.
    #[arg(long, value_name = "DIR")]
    workdir: Option<String>,
    /// Cores, e.g. 500m or 2.
    #[arg(long, value_name = "QUANTITY", value_parser = quantity)]
    cpu: Option<Quantity>,
    /// Bytes of memory, e.g. 256Mi.
    #[arg(long, value_name = "QUANTITY", value_parser = quantity)]
    memory: Option<Quantity>,
    /// How long the sandbox may live, in seconds; the daemon's default otherwise.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i32).range(1..))]
    lifetime: Option<i32>,
    /// A word to find the sandbox by; may be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
}

impl SpecArgs {
    /// The environment of the command.
    pub(crate) fn env(&self) -> BTreeMap<String, String> {
        self.env.iter().map(|Variable { name, value }| (name.clone(), value.clone())).collect()
    }

    /// The image as it was asked for.
    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// Whether the image is another than the host's own programs, which are always here.
    pub(crate) fn has_image(&self) -> bool {
        self.image != HOST_IMAGE
    }

    /// The request. An empty `main` makes an idle sandbox; only a main command gets the environment here, so
    /// that what an exec is given is not written to the ledger.
    pub(crate) fn spec(
        &self,
        main: &[String],
        owner: Option<OwnerProcess>,
    ) -> Result<wire::SandboxSpec, Invalid> {
        let mut annotations = BTreeMap::new();
        self.policy.annotate(&mut annotations)?;
        if let Some(owner) = owner {
            owner.annotate(&mut annotations);
        }
        if main.is_empty() && self.has_image() {
            annotations.insert(MAIN_ANNOTATION.to_owned(), MAIN_IDLE.to_owned());
        }
        let bounds = wire::Resources {
            cpu: self.cpu.as_ref().map(ToString::to_string).unwrap_or_default(),
            memory: self.memory.as_ref().map(ToString::to_string).unwrap_or_default(),
            gpu: None,
        };
        let container = wire::Container {
            name: "main".to_owned(),
            image: self.image.clone(),
            command: main.first().cloned().unwrap_or_default(),
            args: main.iter().skip(1).cloned().collect(),
            environment_variables: if main.is_empty() {
                Default::default()
            } else {
                self.env().into_iter().collect()
            },
            resources: (self.cpu.is_some() || self.memory.is_some()).then_some(bounds),
            working_dir: self.workdir.clone().unwrap_or_default(),
            ..Default::default()
        };
        Ok(wire::SandboxSpec {
            containers: vec![container],
            max_lifetime_seconds: self.lifetime.unwrap_or_default(),
            tags: self.tags.clone(),
            annotations: annotations.into_iter().collect(),
            ..Default::default()
        })
    }
}

fn quantity(text: &str) -> Result<Quantity, String> {
    text.parse().map_err(|refused: Invalid| format!("{}; accepted: {}", refused.problem, refused.accepted))
}

/// A variable as `NAME=VALUE`.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl FromStr for Variable {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err("is not of the form NAME=VALUE"),
        }
    }
}

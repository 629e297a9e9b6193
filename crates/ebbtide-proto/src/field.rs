//! Where in a create request the fields are that the model refuses by names of its own.

use ebbtide_model::Invalid;

use crate::coreweave::sandbox::v1 as wire;

const CONTAINER: &str = "spec.containers[0]";

/// What of a create request must be known to say where in it a field of the model came from.
#[derive(Debug, Clone, Copy)]
pub struct CreateFields {
    /// The resources were given as one amount for request and limit.
    plain_resources: bool,
}

impl CreateFields {
    /// For the refusals of this request.
    pub fn of(sandbox: Option<&wire::Sandbox>) -> Self {
        let container = sandbox.and_then(|sandbox| sandbox.spec.as_ref()?.containers.first());
        Self { plain_resources: container.is_some_and(|container| container.resources.is_some()) }
    }

    /// The same refusal, with the field as the caller wrote it.
    #[must_use]
    pub fn located(self, refused: Invalid) -> Invalid {
        Invalid { field: self.locate(&refused.field), ..refused }
    }

    /// The place of a field of [`ebbtide_model::SandboxSpec`]. A field that is a place already stays as it is.
    pub fn locate(self, field: &str) -> String {
        let (name, rest) = field.split_at(field.find(['.', '[']).unwrap_or(field.len()));
        match name {
            "tags" | "annotations" | "max_lifetime_seconds" => format!("spec.{field}"),
            "image" | "args" | "working_dir" | "files" => format!("{CONTAINER}.{field}"),
            "container" => format!("{CONTAINER}{rest}"),
            "command" => command(rest),
            "env" => format!("{CONTAINER}.environment_variables{rest}"),
            "resources" => self.resources(rest),
            "pull_credentials" => pull_credentials(rest),
            _ => field.to_owned(),
        }
    }

    fn resources(self, rest: &str) -> String {
        if !self.plain_resources {
            return format!("{CONTAINER}.resource_requirements{rest}");
        }
        let amount = rest.trim_start_matches(".requests").trim_start_matches(".limits");
        format!("{CONTAINER}.resources{amount}")
    }
}

/// A program and its arguments are one in the model, two on the wire.
fn command(rest: &str) -> String {
    let index = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')?.parse::<usize>().ok());
    match index.and_then(|index| index.checked_sub(1)) {
        Some(argument) => format!("{CONTAINER}.args[{argument}]"),
        None => format!("{CONTAINER}.command"),
    }
}

fn pull_credentials(rest: &str) -> String {
    let part = match rest {
        ".store" => ".credentials.store_name",
        ".path" => ".credentials.path",
        ".field" => ".credentials.field",
        other => other,
    };
    format!("{CONTAINER}.image_pull_credentials{part}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use ebbtide_model::{
        Amounts, Command, EffectiveResources, Limits, MAIN_ANNOTATION, MountedFile, OWNER_PID_ANNOTATION,
        PullCredentials, SandboxSpec,
    };
    use prost::Message as _;
    use prost_types::field_descriptor_proto::Type;
    use prost_types::{DescriptorProto, FileDescriptorSet};

    use super::*;

    const FIELDS: CreateFields = CreateFields { plain_resources: false };

    /// Where a spec that is fine but for `change` is refused.
    fn refused(change: impl FnOnce(&mut SandboxSpec)) -> String {
        let mut spec = SandboxSpec::new("host");
        change(&mut spec);
        let checked = spec
            .validate(&Limits::default())
            .and_then(|()| spec.resources.effective(EffectiveResources::default()).map(drop));
        FIELDS.located(checked.expect_err("it is not fine")).field
    }

    fn credentials(registry: &str, store: &str, path: &str, field: &str) -> Option<PullCredentials> {
        let [registry, store, path, field] = [registry, store, path, field].map(str::to_owned);
        Some(PullCredentials { registry, store, path, field })
    }

    fn command(argv: &[&str]) -> Command {
        Command { argv: argv.iter().map(|word| (*word).to_owned()).collect(), ..Command::default() }
    }

    fn amount(cpu: &str, memory: &str) -> Amounts {
        let read = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        Amounts { cpu: read(cpu), memory: read(memory) }
    }

    fn annotated(key: &str, value: &str) -> impl FnOnce(&mut SandboxSpec) {
        move |spec| drop(spec.annotations.insert(key.to_owned(), value.to_owned()))
    }

    fn env(name: &str, value: &str) -> impl FnOnce(&mut SandboxSpec) {
        move |spec| spec.main.env = BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    /// The message of this name in the protocol.
    fn message(name: &str) -> DescriptorProto {
        let all = FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).unwrap();
        let mut messages = all.file.into_iter().flat_map(|file| file.message_type);
        messages.find(|message| message.name() == name).unwrap_or_else(|| panic!("no message {name}"))
    }

    /// Whether a request to create a sandbox has such a field.
    fn exists(place: &str) -> bool {
        let mut within = message("Sandbox");
        // What is in brackets may hold dots.
        let mut rest = place;
        loop {
            let (name, after) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
            let Some(field) = within.field.iter().find(|field| field.name() == name) else { return false };
            let after = match after.strip_prefix('[') {
                Some(index) => index.split_once(']').map_or("", |(_, after)| after),
                None => after,
            };
            let Some(next) = after.strip_prefix('.') else { return after.is_empty() };
            if field.r#type() != Type::Message {
                return false;
            }
            within = message(field.type_name().rsplit('.').next().unwrap());
            rest = next;
        }
    }

    #[test]
    fn every_refusal_of_the_model_names_the_field_that_the_caller_wrote() {
        let big = || "x".repeat(2 << 20);
        let table = [
            (refused(|s| s.image.clear()), "spec.containers[0].image"),
            (refused(|s| s.container_name.clear()), "spec.containers[0].name"),
            (refused(|s| s.main = command(&[""])), "spec.containers[0].command"),
            (refused(|s| s.main = command(&["a\0"])), "spec.containers[0].command"),
            (refused(|s| s.main = command(&["a", "b", "\0"])), "spec.containers[0].args[1]"),
            (refused(|s| s.main = command(&["a", &big()])), "spec.containers[0].command"),
            (refused(|s| s.args = vec!["\0".into()]), "spec.containers[0].args[0]"),
            (refused(|s| s.args = vec![big()]), "spec.containers[0].args"),
            (refused(env("A=B", "")), "spec.containers[0].environment_variables"),
            (refused(env("A", "\0")), "spec.containers[0].environment_variables[A]"),
            (refused(|s| s.main.working_dir = Some("x".into())), "spec.containers[0].working_dir"),
            (
                refused(|s| s.mounted_files = vec![MountedFile::new("x", *b"")]),
                "spec.containers[0].files[0].path",
            ),
            (
                refused(|s| s.mounted_files = vec![MountedFile::new("/x", vec![0; 9 << 20])]),
                "spec.containers[0].files",
            ),
            (refused(|s| s.tags = vec![String::new()]), "spec.tags"),
            (refused(annotated("", "")), "spec.annotations"),
            (refused(annotated("a.b", &big())), "spec.annotations[a.b]"),
            (refused(annotated(OWNER_PID_ANNOTATION, "0")), "spec.annotations[ebbtide.dev/owner-start-time]"),
            (refused(annotated(MAIN_ANNOTATION, "x")), "spec.annotations[ebbtide.dev/main]"),
            (refused(|s| s.max_lifetime = Some(Duration::ZERO)), "spec.max_lifetime_seconds"),
            (
                refused(|s| s.resources.limits = amount("1m", "")),
                "spec.containers[0].resource_requirements.limits.cpu",
            ),
            (
                refused(|s| s.resources.requests = amount("", "1")),
                "spec.containers[0].resource_requirements.requests.memory",
            ),
            (
                refused(|s| s.pull_credentials = credentials("", "s", "p", "")),
                "spec.containers[0].image_pull_credentials.registry",
            ),
            (
                refused(|s| s.pull_credentials = credentials("r", "", "p", "")),
                "spec.containers[0].image_pull_credentials.credentials.store_name",
            ),
            (
                refused(|s| s.pull_credentials = credentials("r", "s", "", "")),
                "spec.containers[0].image_pull_credentials.credentials.path",
            ),
            (
                refused(|s| s.pull_credentials = credentials("r", "s", "p", "\0")),
                "spec.containers[0].image_pull_credentials.credentials.field",
            ),
        ];
        for (place, expected) in table {
            assert_eq!(place, expected);
            assert!(exists(&place), "the protocol has no {place}");
        }
    }

    #[test]
    fn an_amount_that_is_request_and_limit_at_once_is_one_field() {
        let plain = CreateFields { plain_resources: true };
        for side in ["requests", "limits"] {
            let place = plain.locate(&format!("resources.{side}.memory"));
            assert_eq!(place, "spec.containers[0].resources.memory");
            assert!(exists(&place));
        }
    }

    #[test]
    fn what_is_a_place_already_stays_as_it_is() {
        for place in ["spec.volumes[0].scratch", "sandbox.spec", "spec.containers[0].args", "request_id"] {
            assert_eq!(FIELDS.locate(place), place);
        }
    }
}

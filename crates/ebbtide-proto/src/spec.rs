//! A create request as the model has it.

use std::time::Duration;

use ebbtide_model::{Command, HOST_IMAGE, Invalid, MountedFile, PullCredentials, SandboxSpec};

use crate::coreweave::sandbox::v1 as wire;
use crate::refusal::unless;
use crate::show::{
    ADOPTABLE_UNTIL_ANNOTATION, FILES_UNTIL_ANNOTATION, OWNER_ANNOTATION, OWNERSHIP_ANNOTATION,
};
use crate::{Refusal, resources, unsupported};

/// What the sandbox of a create request asks for. Fields that only the server fills are ignored.
///
/// # Errors
/// The first field that is malformed or not supported. Ranges are checked later, by [`SandboxSpec::validate`].
pub fn sandbox_spec(sandbox: Option<wire::Sandbox>) -> Result<SandboxSpec, Refusal> {
    let sandbox = sandbox.ok_or_else(|| Invalid::new("sandbox", "is missing", "a sandbox with a spec"))?;
    unless(sandbox.display_name.is_empty(), "sandbox.display_name", "display names are")?;
    let mut spec = sandbox.spec.ok_or_else(|| Invalid::new("sandbox.spec", "is missing", "a spec"))?;
    unsupported::refuse_in_spec(&spec)?;
    let container = match spec.containers.len() {
        1 => spec.containers.pop(),
        0 => None,
        _ => return Err(Refusal::not_implemented("spec.containers[1]", "more than one container is")),
    };
    let container =
        container.ok_or_else(|| Invalid::new("spec.containers", "is empty", "exactly one container"))?;
    let max_lifetime = match u64::try_from(spec.max_lifetime_seconds) {
        Ok(0) => None,
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let problem = format!("{} is negative", spec.max_lifetime_seconds);
            return Err(
                Invalid::new("spec.max_lifetime_seconds", problem, "0 for the default, or more").into()
            );
        }
    };
    Ok(SandboxSpec {
        tags: spec.tags,
        // A spec that was read from a listing may be sent again; what was said there of another sandbox says nothing here.
        annotations: spec.annotations.into_iter().filter(|(key, _)| !is_output(key)).collect(),
        max_lifetime,
        ..container_spec(container)?
    })
}

fn is_output(annotation: &str) -> bool {
    [OWNERSHIP_ANNOTATION, OWNER_ANNOTATION, ADOPTABLE_UNTIL_ANNOTATION, FILES_UNTIL_ANNOTATION]
        .contains(&annotation)
}

fn container_spec(container: wire::Container) -> Result<SandboxSpec, Refusal> {
    const FIELD: &str = "spec.containers[0]";
    unsupported::refuse_in_container(FIELD, &container)?;
    let (argv, args) = match container.command.is_empty() {
        true => (Vec::new(), container.args),
        false => (std::iter::once(container.command).chain(container.args).collect(), Vec::new()),
    };
    let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
    let image = or(container.image, HOST_IMAGE);
    Ok(SandboxSpec {
        container_name: or(container.name, "main"),
        main: Command {
            argv,
            env: container.environment_variables.into_iter().collect(),
            working_dir: Some(container.working_dir).filter(|dir| !dir.is_empty()),
        },
        args,
        pull_credentials: container.image_pull_credentials.and_then(pull_credentials),
        resources: resources::read(FIELD, container.resources, container.resource_requirements)?,
        mounted_files: container
            .files
            .into_iter()
            .map(|file| MountedFile::new(file.path, file.content.to_vec()))
            .collect(),
        ..SandboxSpec::new(image)
    })
}

/// Where the credentials are; none where the message is as good as absent.
fn pull_credentials(credentials: wire::ImagePullCredentials) -> Option<PullCredentials> {
    let is_absent = credentials == wire::ImagePullCredentials::default();
    let wire::ImagePullCredentials { registry, credentials } = credentials;
    let wire::SecretSource { store_name: store, path, field } = credentials.unwrap_or_default();
    (!is_absent).then_some(PullCredentials { registry, store, path, field })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl FnOnce(&mut wire::SandboxSpec, &mut wire::Container)) -> Option<wire::Sandbox> {
        let (mut spec, mut container) = (wire::SandboxSpec::default(), wire::Container::default());
        change(&mut spec, &mut container);
        spec.containers.insert(0, container);
        Some(wire::Sandbox { spec: Some(spec), ..Default::default() })
    }

    fn refused(change: impl FnOnce(&mut wire::SandboxSpec, &mut wire::Container)) -> Refusal {
        sandbox_spec(request(change)).expect_err("must be refused")
    }

    #[test]
    fn everything_left_out_means_an_idle_sandbox_on_the_host_image() {
        assert_eq!(sandbox_spec(request(|_, _| {})), Ok(SandboxSpec::new(HOST_IMAGE)));
    }

    #[test]
    fn nobody_can_make_a_sandbox_that_looks_like_an_orphan() {
        let spec = sandbox_spec(request(|spec, _| {
            for key in [OWNERSHIP_ANNOTATION, OWNER_ANNOTATION, ADOPTABLE_UNTIL_ANNOTATION, "mine"] {
                spec.annotations.insert(key.into(), "orphaned".into());
            }
        }));
        assert_eq!(spec.unwrap().annotations.into_keys().collect::<Vec<_>>(), ["mine"]);
    }

    #[test]
    fn command_and_args_become_one_argv() {
        let spec = sandbox_spec(request(|_, c| {
            c.command = "sh".into();
            c.args = vec!["-c".into(), "exit 7".into()];
        }));
        assert_eq!(spec.unwrap().main.argv, ["sh", "-c", "exit 7"]);
    }

    #[test]
    fn args_alone_are_for_the_images_own_program() {
        let spec = sandbox_spec(request(|_, c| c.args = vec!["-c".into(), "exit 7".into()])).unwrap();
        assert_eq!((spec.main.argv.len(), spec.args), (0, vec!["-c".to_owned(), "exit 7".to_owned()]));
    }

    #[test]
    fn pull_credentials_are_named_by_store_and_place() {
        let read = |credentials| {
            sandbox_spec(request(|_, c| c.image_pull_credentials = Some(credentials)))
                .unwrap()
                .pull_credentials
        };
        assert_eq!(read(wire::ImagePullCredentials::default()), None);
        let source = wire::SecretSource { store_name: "s".into(), path: "p".into(), field: "f".into() };
        let credentials =
            wire::ImagePullCredentials { registry: "r.example".into(), credentials: Some(source) };
        let [registry, store, path, field] = ["r.example", "s", "p", "f"].map(str::to_owned);
        assert_eq!(read(credentials), Some(PullCredentials { registry, store, path, field }));
        // Half of them is no less than a request for them; the model refuses it by name.
        let half = wire::ImagePullCredentials { registry: "r.example".into(), credentials: None };
        assert_eq!(read(half).unwrap().store, "");
    }

    #[test]
    fn mounted_files_are_taken_with_their_content() {
        let spec = sandbox_spec(request(|_, c| {
            c.files.push(wire::FileMount { path: "/etc/x".into(), content: b"\0x".to_vec().into() });
        }));
        assert_eq!(spec.unwrap().mounted_files, [MountedFile::new("/etc/x", *b"\0x")]);
    }

    #[test]
    fn what_is_not_supported_beside_the_fields_of_a_container_is_refused_by_name() {
        let gpu = |c: &mut wire::Container| {
            let gpu = wire::Gpu { count: 1, selector: None };
            let limits = wire::Resources { gpu: Some(gpu), ..Default::default() };
            c.resource_requirements.get_or_insert_default().limits = Some(limits);
        };
        for (field, refusal) in [
            ("spec.containers[1]", refused(|s, _| s.containers.push(Default::default()))),
            ("spec.containers[0].resource_requirements.limits.gpu", refused(|_, c| gpu(c))),
            ("spec.containers[0].secret_stores", refused(|_, c| c.secret_stores.push(Default::default()))),
            ("spec.services", refused(|s, _| s.services.push(Default::default()))),
        ] {
            assert_eq!(refusal.reason(), ebbtide_model::ErrorReason::NotImplemented, "{field}");
            assert_eq!(refusal.field(), field);
        }
        let named = wire::Sandbox { display_name: "n".into(), ..request(|_, _| {}).unwrap() };
        assert_eq!(sandbox_spec(Some(named)).unwrap_err().field(), "sandbox.display_name");
    }

    #[test]
    fn what_the_public_client_sends_without_being_asked_is_accepted() {
        let script = "trap \"exit 0\" TERM INT; sleep infinity & wait";
        let spec = sandbox_spec(request(|_, c| {
            c.name = "main".into();
            c.image = "python:3.11".into();
            c.command = "/bin/sh".into();
            c.args = vec!["-c".into(), script.into()];
            c.resource_requirements = Some(Default::default());
        }))
        .unwrap();
        assert_eq!(spec.image, "python:3.11");
        assert_eq!(spec.main.argv, ["/bin/sh", "-c", script]);
    }

    #[test]
    fn missing_and_absurd_values_are_invalid() {
        assert_eq!(sandbox_spec(None).unwrap_err().field(), "sandbox");
        assert_eq!(sandbox_spec(Some(wire::Sandbox::default())).unwrap_err().field(), "sandbox.spec");
        let empty = wire::Sandbox { spec: Some(wire::SandboxSpec::default()), ..Default::default() };
        assert_eq!(sandbox_spec(Some(empty)).unwrap_err().field(), "spec.containers");
        let negative = refused(|s, _| s.max_lifetime_seconds = -1);
        assert_eq!(negative.field(), "spec.max_lifetime_seconds");
        assert_eq!(negative.reason(), ebbtide_model::ErrorReason::InvalidRequest);
    }
}

//! A create request as the model has it. Everything that this version cannot do is refused by name here; values
//! that ask for what happens anyway are accepted.

use std::time::Duration;

use ebbtide_model::{Command, HOST_IMAGE, Invalid, SandboxSpec};

use crate::coreweave::sandbox::v1 as wire;
use crate::refusal::unless;
use crate::{RUNNER_ID, Refusal, resources};

/// What the sandbox of a create request asks for. Fields that only the server fills are ignored.
///
/// # Errors
/// The first field that is malformed or not supported. Ranges are checked later, by [`SandboxSpec::validate`].
pub fn sandbox_spec(sandbox: Option<wire::Sandbox>) -> Result<SandboxSpec, Refusal> {
    let sandbox = sandbox.ok_or_else(|| Invalid::new("sandbox", "is missing", "a sandbox with a spec"))?;
    unless(sandbox.display_name.is_empty(), "sandbox.display_name", "display names are")?;
    let mut spec = sandbox.spec.ok_or_else(|| Invalid::new("sandbox.spec", "is missing", "a spec"))?;
    refuse_unsupported(&spec)?;
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
        annotations: spec.annotations.into_iter().collect(),
        max_lifetime,
        ..container_spec(container)?
    })
}

fn container_spec(container: wire::Container) -> Result<SandboxSpec, Refusal> {
    const FIELD: &str = "spec.containers[0]";
    refuse_unsupported_in(FIELD, &container)?;
    let argv = if container.command.is_empty() {
        unless(container.args.is_empty(), &format!("{FIELD}.args"), "arguments without a command are")?;
        Vec::new()
    } else {
        std::iter::once(container.command).chain(container.args).collect()
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
        resources: resources::read(FIELD, container.resources, container.resource_requirements)?,
        ..SandboxSpec::new(image)
    })
}

fn refuse_unsupported(spec: &wire::SandboxSpec) -> Result<(), Refusal> {
    unless(spec.volumes.is_empty(), "spec.volumes", "volumes are")?;
    unless(spec.services.is_empty(), "spec.services", "services are")?;
    unless(spec.network_ids.is_empty(), "spec.network_ids", "networks are")?;
    unless(spec.network_config_id.is_empty(), "spec.network_config_id", "networks are")?;
    let storage = spec.object_storage_access.as_ref();
    unless(storage.is_none_or(is_default), "spec.object_storage_access", "object storage is")?;
    unless(spec.instance_type.is_empty(), "spec.instance_type", "instance types are")?;
    unless(spec.runtime_class.is_empty(), "spec.runtime_class", "runtime classes are")?;
    let class = spec.runtime_class_selection;
    let plain = [wire::RuntimeClass::Unspecified, wire::RuntimeClass::CpuDefault].map(i32::from);
    unless(plain.contains(&class), "spec.runtime_class_selection", "this runtime class is")?;
    if !spec.runner_ids.is_empty() && !spec.runner_ids.iter().any(|id| id == RUNNER_ID) {
        let problem = "names no runner of this daemon";
        return Err(Invalid::new("spec.runner_ids", problem, format!("none, or {RUNNER_ID:?}")).into());
    }
    if let Some(network) = &spec.network {
        // Every sandbox has loopback only, so a denial is what it gets anyway.
        unless(network.ingress.is_empty(), "spec.network.ingress", "network rules are")?;
        unless(network.egress.is_empty(), "spec.network.egress", "network rules are")?;
        let dns = network.dns_egress != i32::from(wire::DnsEgressMode::Allow);
        unless(dns, "spec.network.dns_egress", "name resolution is")?;
    }
    Ok(())
}

fn refuse_unsupported_in(field: &str, container: &wire::Container) -> Result<(), Refusal> {
    let check = |unset, name: &str, what| unless(unset, &format!("{field}.{name}"), what);
    check(container.files.is_empty(), "files", "mounted files are")?;
    check(container.volume_mounts.is_empty(), "volume_mounts", "volumes are")?;
    check(container.secret_stores.is_empty(), "secret_stores", "secrets are")?;
    let credentials = container.image_pull_credentials.as_ref();
    check(credentials.is_none_or(is_default), "image_pull_credentials", "pull credentials are")?;
    check(container.startup_probe.as_ref().is_none_or(is_default), "startup_probe", "probes are")?;
    if let Some(context) = &container.security_context {
        // No sandbox is privileged or can gain privileges, so saying so is no more than the truth.
        let told = wire::SecurityContext {
            privileged: context.privileged.filter(|on| *on),
            allow_privilege_escalation: context.allow_privilege_escalation.filter(|on| *on),
            ..context.clone()
        };
        check(is_default(&told), "security_context", "security contexts are")?;
    }
    Ok(())
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
    fn command_and_args_become_one_argv() {
        let spec = sandbox_spec(request(|_, c| {
            c.command = "sh".into();
            c.args = vec!["-c".into(), "exit 7".into()];
        }));
        assert_eq!(spec.unwrap().main.argv, ["sh", "-c", "exit 7"]);
    }

    #[test]
    fn each_unsupported_field_is_refused_by_name() {
        let table: Vec<(&str, Refusal)> = vec![
            ("spec.volumes", refused(|s, _| s.volumes.push(Default::default()))),
            ("spec.services", refused(|s, _| s.services.push(Default::default()))),
            ("spec.network_ids", refused(|s, _| s.network_ids.push("n".into()))),
            ("spec.network_config_id", refused(|s, _| s.network_config_id = "n".into())),
            (
                "spec.object_storage_access",
                refused(|s, _| {
                    s.object_storage_access =
                        Some(wire::ObjectStorageAccess { buckets: vec!["b".into()], ..Default::default() });
                }),
            ),
            ("spec.instance_type", refused(|s, _| s.instance_type = "big".into())),
            ("spec.runtime_class", refused(|s, _| s.runtime_class = "gvisor".into())),
            (
                "spec.runtime_class_selection",
                refused(|s, _| s.set_runtime_class_selection(wire::RuntimeClass::GpuDefault)),
            ),
            ("spec.runtime_class_selection", refused(|s, _| s.runtime_class_selection = 77)),
            (
                "spec.network.egress",
                refused(|s, _| s.network.get_or_insert_default().egress.push(Default::default())),
            ),
            (
                "spec.network.ingress",
                refused(|s, _| s.network.get_or_insert_default().ingress.push(Default::default())),
            ),
            (
                "spec.network.dns_egress",
                refused(|s, _| {
                    s.network.get_or_insert_default().set_dns_egress(wire::DnsEgressMode::Allow);
                }),
            ),
            ("spec.containers[1]", refused(|s, _| s.containers.push(Default::default()))),
            ("spec.containers[0].files", refused(|_, c| c.files.push(Default::default()))),
            ("spec.containers[0].volume_mounts", refused(|_, c| c.volume_mounts.push(Default::default()))),
            ("spec.containers[0].secret_stores", refused(|_, c| c.secret_stores.push(Default::default()))),
            (
                "spec.containers[0].image_pull_credentials",
                refused(|_, c| c.image_pull_credentials.get_or_insert_default().registry = "r".into()),
            ),
            (
                "spec.containers[0].startup_probe",
                refused(|_, c| c.startup_probe.get_or_insert_default().exec.push("true".into())),
            ),
            (
                "spec.containers[0].security_context",
                refused(|_, c| c.security_context.get_or_insert_default().privileged = Some(true)),
            ),
            (
                "spec.containers[0].security_context",
                refused(|_, c| c.security_context.get_or_insert_default().run_as_user = Some(0)),
            ),
            ("spec.containers[0].args", refused(|_, c| c.args.push("x".into()))),
            (
                "spec.containers[0].resource_requirements.limits.gpu",
                refused(|_, c| {
                    let gpu = wire::Gpu { count: 1, selector: None };
                    let limits = wire::Resources { gpu: Some(gpu), ..Default::default() };
                    c.resource_requirements.get_or_insert_default().limits = Some(limits);
                }),
            ),
        ];
        for (field, refusal) in table {
            assert_eq!(refusal.reason(), ebbtide_model::ErrorReason::NotImplemented, "{field}");
            assert_eq!(refusal.field(), field);
        }
        let named = wire::Sandbox { display_name: "n".into(), ..request(|_, _| {}).unwrap() };
        assert_eq!(sandbox_spec(Some(named)).unwrap_err().field(), "sandbox.display_name");
    }

    #[test]
    fn values_that_ask_for_what_happens_anyway_are_accepted() {
        let accepted = sandbox_spec(request(|s, c| {
            s.set_mode(wire::SandboxMode::Serverless);
            s.runner_ids.push(RUNNER_ID.into());
            s.set_runtime_class_selection(wire::RuntimeClass::CpuDefault);
            s.object_storage_access = Some(Default::default());
            let network = wire::NetworkOptions { deny_egress: Some(true), ..Default::default() };
            s.network = Some(network);
            c.primary = Some(true);
            c.security_context.get_or_insert_default().privileged = Some(false);
        }));
        assert_eq!(accepted, Ok(SandboxSpec::new(HOST_IMAGE)));
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
        assert_eq!(refused(|s, _| s.runner_ids.push("far".into())).field(), "spec.runner_ids");
    }
}

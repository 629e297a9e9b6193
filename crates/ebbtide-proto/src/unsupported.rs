//! What a create request can ask for and this version cannot do, refused field by field with the reason that
//! clients know for it. Values that ask for what happens anyway are accepted.
//!
//! Every field is named when a message is taken apart, so one that the protocol gains cannot be overlooked.

use ebbtide_model::Invalid;

use crate::coreweave::sandbox::v1 as wire;
use crate::refusal::unless;
use crate::{RUNNER_ID, Refusal};

/// Refuses what a sandbox cannot have, apart from its containers.
pub(crate) fn refuse_in_spec(spec: &wire::SandboxSpec) -> Result<(), Refusal> {
    let wire::SandboxSpec {
        // Read by the caller.
        containers: _,
        max_lifetime_seconds: _,
        tags: _,
        annotations: _,
        volumes,
        services,
        network_ids,
        network_config_id,
        object_storage_access,
        runner_ids,
        network,
        instance_type,
        mode,
        runtime_class,
        runtime_class_selection,
    } = spec;
    volumes.iter().enumerate().try_for_each(|(index, volume)| refuse_volume(index, volume))?;
    unless(services.is_empty(), "spec.services", "services are")?;
    unless(network_ids.is_empty(), "spec.network_ids", "networks are")?;
    unless(network_config_id.is_empty(), "spec.network_config_id", "networks are")?;
    let storage = object_storage_access.as_ref();
    unless(storage.is_none_or(is_default), "spec.object_storage_access", "object storage is")?;
    unless(instance_type.is_empty(), "spec.instance_type", "instance types are")?;
    // One machine is every kind of placement there is.
    known::<wire::SandboxMode>("spec.mode", *mode)?;
    unless(runtime_class.is_empty(), "spec.runtime_class", "runtime classes are")?;
    let class = known::<wire::RuntimeClass>("spec.runtime_class_selection", *runtime_class_selection)?;
    let plain = matches!(class, wire::RuntimeClass::Unspecified | wire::RuntimeClass::CpuDefault);
    unless(plain, "spec.runtime_class_selection", "this runtime class is")?;
    if !runner_ids.is_empty() && !runner_ids.iter().any(|id| id == RUNNER_ID) {
        let problem = "names no runner of this daemon";
        return Err(Invalid::new("spec.runner_ids", problem, format!("none, or {RUNNER_ID:?}")).into());
    }
    network.as_ref().map_or(Ok(()), refuse_network)
}

fn refuse_volume(index: usize, volume: &wire::SandboxVolume) -> Result<(), Refusal> {
    use wire::sandbox_volume::Source;
    let wire::SandboxVolume { name: _, source } = volume;
    let field = |name: &str| format!("spec.volumes[{index}].{name}");
    match source {
        Some(Source::Scratch(_)) => Err(Refusal::snapshots(field("scratch"), "scratch volumes are")),
        Some(Source::VolumeId(_)) => Err(Refusal::not_implemented(field("volume_id"), "volumes are")),
        None => Err(Invalid::new(field("source"), "is missing", "scratch or volume_id").into()),
    }
}

/// Every sandbox has loopback only, so a denial is what it gets anyway.
fn refuse_network(network: &wire::NetworkOptions) -> Result<(), Refusal> {
    let wire::NetworkOptions { ingress, egress, deny_egress, deny_ingress, dns_egress } = network;
    unless(ingress.is_empty(), "spec.network.ingress", "network rules are")?;
    unless(egress.is_empty(), "spec.network.egress", "network rules are")?;
    let open = "connections beyond the sandbox are";
    unless(*deny_egress != Some(false), "spec.network.deny_egress", open)?;
    unless(*deny_ingress != Some(false), "spec.network.deny_ingress", open)?;
    let dns = known::<wire::DnsEgressMode>("spec.network.dns_egress", *dns_egress)?;
    unless(dns != wire::DnsEgressMode::Allow, "spec.network.dns_egress", "name resolution is")
}

/// Refuses what the container `field` cannot have.
pub(crate) fn refuse_in_container(field: &str, container: &wire::Container) -> Result<(), Refusal> {
    let wire::Container {
        // Read by the caller.
        name: _,
        image: _,
        command: _,
        args: _,
        environment_variables: _,
        resources: _,
        resource_requirements: _,
        working_dir: _,
        files: _,
        image_pull_credentials: _,
        volume_mounts,
        secret_stores,
        security_context,
        // The only container is the primary one, whether it says so or not.
        primary: _,
        startup_probe,
    } = container;
    let check = |unset, name: &str, what| unless(unset, &format!("{field}.{name}"), what);
    check(volume_mounts.is_empty(), "volume_mounts", "volumes are")?;
    check(secret_stores.is_empty(), "secret_stores", "secrets are")?;
    check(startup_probe.as_ref().is_none_or(is_default), "startup_probe", "probes are")?;
    let Some(context) = security_context else { return Ok(()) };
    let wire::SecurityContext {
        run_as_user,
        run_as_group,
        privileged,
        allow_privilege_escalation,
        read_only_root_filesystem,
        capabilities_add,
        capabilities_drop,
        seccomp_profile,
    } = context;
    let check = |unset, name: &str, what| check(unset, &format!("security_context.{name}"), what);
    check(run_as_user.is_none(), "run_as_user", "users other than the image's are")?;
    check(run_as_group.is_none(), "run_as_group", "groups other than the image's are")?;
    // No sandbox is privileged or can gain privileges, so saying so is no more than the truth.
    check(*privileged != Some(true), "privileged", "privileged sandboxes are")?;
    let escalates = *allow_privilege_escalation == Some(true);
    check(!escalates, "allow_privilege_escalation", "gaining privileges is")?;
    let read_only = *read_only_root_filesystem == Some(true);
    check(!read_only, "read_only_root_filesystem", "read-only roots are")?;
    check(capabilities_add.is_empty(), "capabilities_add", "other capabilities are")?;
    check(capabilities_drop.is_empty(), "capabilities_drop", "other capabilities are")?;
    check(seccomp_profile.is_empty(), "seccomp_profile", "other system call filters are")
}

/// The value of an enum; a number that the protocol does not have is malformed.
fn known<T: TryFrom<i32>>(field: &str, number: i32) -> Result<T, Invalid> {
    T::try_from(number).map_err(|_| {
        Invalid::new(field, format!("{number} is no value of it"), "a value that the protocol has")
    })
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use ebbtide_model::ErrorReason;
    use wire::sandbox_volume::Source;

    use super::*;

    /// What is said to a request that is empty but for `change`: the reason and the field.
    fn said(
        change: impl FnOnce(&mut wire::SandboxSpec, &mut wire::Container),
    ) -> Option<(ErrorReason, String)> {
        let (mut spec, mut container) = (wire::SandboxSpec::default(), wire::Container::default());
        change(&mut spec, &mut container);
        let refused = refuse_in_spec(&spec).and_then(|()| refuse_in_container("c", &container));
        refused.err().map(|refusal| (refusal.reason(), refusal.field().to_owned()))
    }

    fn volume(source: Option<Source>) -> wire::SandboxVolume {
        wire::SandboxVolume { name: "v".into(), source }
    }

    fn context(container: &mut wire::Container) -> &mut wire::SecurityContext {
        container.security_context.get_or_insert_default()
    }

    fn network(spec: &mut wire::SandboxSpec) -> &mut wire::NetworkOptions {
        spec.network.get_or_insert_default()
    }

    #[test]
    fn each_field_that_cannot_be_honoured_is_refused_by_name_with_the_reason_that_clients_know() {
        use ErrorReason::{InvalidRequest, NotImplemented, SnapshotNotSupported};
        let scratch = || Source::Scratch(wire::ScratchVolume::default());
        let table = [
            (
                SnapshotNotSupported,
                "spec.volumes[0].scratch",
                said(|s, _| s.volumes.push(volume(Some(scratch())))),
            ),
            (
                NotImplemented,
                "spec.volumes[0].volume_id",
                said(|s, _| s.volumes.push(volume(Some(Source::VolumeId("v".into()))))),
            ),
            (InvalidRequest, "spec.volumes[0].source", said(|s, _| s.volumes.push(volume(None)))),
            (NotImplemented, "spec.services", said(|s, _| s.services.push(Default::default()))),
            (NotImplemented, "spec.network_ids", said(|s, _| s.network_ids.push("n".into()))),
            (NotImplemented, "spec.network_config_id", said(|s, _| s.network_config_id = "n".into())),
            (
                NotImplemented,
                "spec.object_storage_access",
                said(|s, _| s.object_storage_access.get_or_insert_default().buckets.push("b".into())),
            ),
            (InvalidRequest, "spec.runner_ids", said(|s, _| s.runner_ids.push("far".into()))),
            (
                NotImplemented,
                "spec.network.ingress",
                said(|s, _| network(s).ingress.push(Default::default())),
            ),
            (NotImplemented, "spec.network.egress", said(|s, _| network(s).egress.push(Default::default()))),
            (NotImplemented, "spec.network.deny_egress", said(|s, _| network(s).deny_egress = Some(false))),
            (NotImplemented, "spec.network.deny_ingress", said(|s, _| network(s).deny_ingress = Some(false))),
            (
                NotImplemented,
                "spec.network.dns_egress",
                said(|s, _| network(s).set_dns_egress(wire::DnsEgressMode::Allow)),
            ),
            (InvalidRequest, "spec.network.dns_egress", said(|s, _| network(s).dns_egress = 77)),
            (NotImplemented, "spec.instance_type", said(|s, _| s.instance_type = "big".into())),
            (InvalidRequest, "spec.mode", said(|s, _| s.mode = 77)),
            (NotImplemented, "spec.runtime_class", said(|s, _| s.runtime_class = "gvisor".into())),
            (
                NotImplemented,
                "spec.runtime_class_selection",
                said(|s, _| s.set_runtime_class_selection(wire::RuntimeClass::GpuDefault)),
            ),
            (InvalidRequest, "spec.runtime_class_selection", said(|s, _| s.runtime_class_selection = 77)),
            (NotImplemented, "c.volume_mounts", said(|_, c| c.volume_mounts.push(Default::default()))),
            (NotImplemented, "c.secret_stores", said(|_, c| c.secret_stores.push(Default::default()))),
            (
                NotImplemented,
                "c.startup_probe",
                said(|_, c| c.startup_probe.get_or_insert_default().exec.push("true".into())),
            ),
            (NotImplemented, "c.security_context.run_as_user", said(|_, c| context(c).run_as_user = Some(0))),
            (
                NotImplemented,
                "c.security_context.run_as_group",
                said(|_, c| context(c).run_as_group = Some(0)),
            ),
            (
                NotImplemented,
                "c.security_context.privileged",
                said(|_, c| context(c).privileged = Some(true)),
            ),
            (
                NotImplemented,
                "c.security_context.allow_privilege_escalation",
                said(|_, c| context(c).allow_privilege_escalation = Some(true)),
            ),
            (
                NotImplemented,
                "c.security_context.read_only_root_filesystem",
                said(|_, c| context(c).read_only_root_filesystem = Some(true)),
            ),
            (
                NotImplemented,
                "c.security_context.capabilities_add",
                said(|_, c| context(c).capabilities_add.push("X".into())),
            ),
            (
                NotImplemented,
                "c.security_context.capabilities_drop",
                said(|_, c| context(c).capabilities_drop.push("X".into())),
            ),
            (
                NotImplemented,
                "c.security_context.seccomp_profile",
                said(|_, c| context(c).seccomp_profile = "x".into()),
            ),
        ];
        for (reason, field, said) in table {
            assert_eq!(said, Some((reason, field.to_owned())));
        }
    }

    #[test]
    fn values_that_ask_for_what_happens_anyway_are_accepted() {
        let said = said(|s, c| {
            s.set_mode(wire::SandboxMode::Cks);
            s.runner_ids.extend(["far".to_owned(), RUNNER_ID.to_owned()]);
            s.set_runtime_class_selection(wire::RuntimeClass::CpuDefault);
            s.object_storage_access = Some(Default::default());
            s.network = Some(wire::NetworkOptions {
                deny_egress: Some(true),
                deny_ingress: Some(true),
                dns_egress: wire::DnsEgressMode::Deny.into(),
                ..Default::default()
            });
            c.primary = Some(true);
            c.image_pull_credentials = Some(Default::default());
            c.startup_probe = Some(Default::default());
            *context(c) = wire::SecurityContext {
                privileged: Some(false),
                allow_privilege_escalation: Some(false),
                read_only_root_filesystem: Some(false),
                ..Default::default()
            };
        });
        assert_eq!(said, None);
    }
}

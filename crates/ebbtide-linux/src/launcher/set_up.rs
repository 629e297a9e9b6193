//! Making everything that all sandboxes of a home share.

use std::collections::VecDeque;
use std::sync::Arc;

use rustix::event::epoll;

use super::disk_class::DiskClass;
use super::pulse::Pulse;
use super::roots::Roots;
use super::server::Launcher;
use super::{Arguments, failed, namespace};
use crate::cgroup;
use crate::protocol::Refusal;
use crate::root::{DeviceTree, RootBuilder, host_layers};
use crate::seccomp::Filter;
use crate::slot::SlotDirs;
use crate::sys;
use crate::sys_error::{Step, SysError};

impl Launcher {
    /// Makes everything that all sandboxes share, and takes over what is there.
    pub(super) fn set_up(arguments: Arguments) -> Result<Self, Refusal> {
        let step = |error: SysError| failed(&error);
        let run = |name: &str| arguments.run_dir.join(name);
        let (stage, layer_stage) = (run("root"), run("layer"));
        // Once for all that will be run: nothing here installs a handler or has a signal ignored.
        sys::reset_signal_actions();
        let _ = rustix::process::setsid();
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::Pid::INIT));
        let _ = rustix::thread::set_name(c"ebb-launcher");
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let core = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Core, core);
        // As many descriptors as it may have, however few its daemon had left itself.
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let most = rustix::process::Rlimit { current: files.maximum, ..files };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, most);
        for dir in [&stage, &layer_stage, &run("s")] {
            std::fs::create_dir_all(dir).step(|| format!("make {}", dir.display())).map_err(step)?;
        }
        let needed = ["/proc", "/sys", "/sys/fs/cgroup", "/dev", "/usr", "/etc", "/lib", "/bin"]
            .map(std::path::Path::new);
        // The images may be on a mount of their own.
        let layers = arguments.state_dir.join("images/layers");
        let own = [arguments.state_dir.as_path(), &layers, &arguments.run_dir, &arguments.ids_dir];
        namespace::enter(&stage, &[&needed[..], &own[..]].concat()).map_err(step)?;
        let cgroups = cgroup::detect(&arguments.home_id).map_err(|missing| Refusal::Unsupported {
            missing,
            help: "mount cgroup2 and run as root, or ask the administrator of this container host".to_owned(),
        })?;
        let disk = DiskClass::open(&arguments.disk_pool(), &run("disk"), arguments.disk_pool_bytes)?;
        let layers = host_layers(&arguments.state_dir.join("host-image")).map_err(step)?;
        let builder = arguments.root_builder.unwrap_or_else(RootBuilder::probe);
        let devices = DeviceTree::make(&run("dev")).map_err(step)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).step(|| "make an epoll").map_err(step)?;
        let mut launcher = Self {
            dirs: SlotDirs::new(&arguments.run_dir),
            arguments,
            cgroups,
            disk,
            roots: Roots::new(layers),
            builder,
            devices,
            filter: Arc::new(Filter::payload()),
            stage,
            layer_stage,
            epoll,
            pulse: Pulse::make().step(|| "make a pipe").map_err(step)?,
            slots: Vec::new(),
            free_slots: Vec::new(),
            shells: Vec::new(),
            connections: Vec::new(),
            waiting: VecDeque::new(),
            retry: false,
            trim_due: None,
            shutting_down: None,
        };
        launcher.adopt().map_err(step)?;
        Ok(launcher)
    }
}

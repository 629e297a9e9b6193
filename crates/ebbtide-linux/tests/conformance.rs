//! The Linux driver passes the kit, with each way of building roots that this kernel can do. Needs root.
//!
//! The program is its own launcher: `/proc/self/exe internal-launcher` lands in `main` again.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ebbtide_driver::conformance::{CHECKS, Harness, run_check};
use ebbtide_driver::{Driver, DriverError, Leftover};
use ebbtide_linux::{LinuxConfig, LinuxDriver, RootBuilder};
use ebbtide_model::SandboxId;
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};

const ROLE: &str = "internal-launcher";

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    if args.nth(1).is_some_and(|role| role == ROLE) {
        return ebbtide_linux::launcher_main(args);
    }
    let mut arguments = Arguments::from_args();
    // Each check looks at what its whole home has left.
    arguments.test_threads = Some(1);
    let builders = [("by_descriptor", RootBuilder::ByDescriptor), ("attached", RootBuilder::Attached)];
    let trials =
        builders.into_iter().filter(|(_, builder)| builder.is_supported()).flat_map(|(name, builder)| {
            CHECKS.iter().map(move |check| {
                Trial::test(format!("{name}::{}", check.name), move || {
                    let runtime =
                        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
                    runtime.block_on(async {
                        let linux = Linux::new(builder);
                        let outcome = run_check(&linux, check).await;
                        linux.end().await.map_err(|error| error.to_string())?;
                        outcome.result.map_err(|failure| Failed::from(format!("{failure:?}")))
                    })
                })
            })
        });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// A home of one check.
struct Linux {
    config: LinuxConfig,
    home: tempfile::TempDir,
    driver: Mutex<Option<Arc<LinuxDriver>>>,
}

impl Linux {
    fn new(builder: RootBuilder) -> Self {
        let home = tempfile::tempdir().unwrap();
        let id: String = SandboxId::generate().as_str()[18..].replace(['0', '1', '8', '9'], "a");
        let run_dir = Path::new("/run/ebbtide").join(&id);
        let mut config = LinuxConfig::new(id, home.path(), run_dir);
        config.root_builder = Some(builder);
        config.disk_pool_bytes = 4 << 30;
        Self { config, home, driver: Mutex::new(None) }
    }

    /// Ends the launcher and looks, without asking anything of the driver, at what is left.
    async fn end(&self) -> Result<(), DriverError> {
        let driver = self.driver.lock().unwrap().take();
        let driver = match driver {
            Some(driver) => driver,
            None => Arc::new(LinuxDriver::connect(self.config.clone()).await?),
        };
        driver.shutdown().await?;
        drop(driver);
        let left = self.traces();
        assert!(left.is_empty(), "left: {left:#?}");
        fs::remove_dir_all(&self.config.run_dir).unwrap();
        Ok(())
    }

    /// Everything on this machine that carries the home's mark.
    fn traces(&self) -> Vec<String> {
        let id = self.config.home_id.as_str();
        let entries = |dir: &str| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let home = self.home.path().to_string_lossy();
        let cgroups = entries("/sys/fs/cgroup")
            .chain(["/sys/fs/cgroup".into()])
            .map(|hierarchy| hierarchy.join("ebbtide").join(id))
            .filter(|path| path.exists());
        let processes = entries("/proc").filter(|path| {
            let cmdline = text(&path.join("cmdline"));
            cmdline.contains(ROLE) && cmdline.contains(id)
        });
        let loops =
            entries("/sys/block").filter(|path| text(&path.join("loop/backing_file")).contains(&*home));
        let claims = entries("/run/ebbtide/ids").filter(|path| text(path).contains(id));
        let run = entries(&self.config.run_dir.to_string_lossy());
        let all = cgroups.chain(processes).chain(loops).chain(claims).chain(run);
        all.map(|path| path.display().to_string()).collect()
    }
}

#[async_trait]
impl Harness for Linux {
    async fn fresh(&self) -> Result<Arc<dyn Driver>, DriverError> {
        self.reconnect().await
    }

    async fn reconnect(&self) -> Result<Arc<dyn Driver>, DriverError> {
        self.driver.lock().unwrap().take();
        let driver = Arc::new(LinuxDriver::connect(self.config.clone()).await?);
        *self.driver.lock().unwrap() = Some(Arc::clone(&driver));
        Ok(driver)
    }

    async fn kill_init(&self, id: &SandboxId) -> bool {
        let file = self.config.run_dir.join("s").join(id.as_str()).join("slot.json");
        let slot: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let base = Path::new("/sys/fs/cgroup");
        let base = if base.join("unified").is_dir() { base.join("unified") } else { base.to_owned() };
        let cgroup = base.join("ebbtide").join(&self.config.home_id).join(slot["slot"].as_str().unwrap());
        let pid = fs::read_to_string(cgroup.join("init/cgroup.procs")).unwrap().trim().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).is_ok()
    }

    async fn independent_leftovers(&self) -> Vec<Leftover> {
        let entries = fs::read_dir(self.config.run_dir.join("s")).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.starts_with("slot-"))
            .map(|name| Leftover { kind: "directory".to_owned(), name })
            .collect()
    }
}

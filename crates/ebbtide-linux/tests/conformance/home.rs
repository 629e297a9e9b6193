//! A home of one check.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ebbtide_driver::conformance::Harness;
use ebbtide_driver::{Driver, DriverError, LayeredRoot, Leftover};
use ebbtide_linux::{LinuxConfig, LinuxDriver, RootBuilder};
use ebbtide_model::SandboxId;
use rustix::process::{Pid, Signal, kill_process};

use crate::ROLE;
use crate::image::Images;

/// A home of one check.
pub(crate) struct Linux {
    pub(crate) config: LinuxConfig,
    /// How many slots the next driver keeps ready.
    pub(crate) slots_ahead: AtomicUsize,
    home: tempfile::TempDir,
    pub(crate) images: Images,
    driver: Mutex<Option<Arc<LinuxDriver>>>,
}

impl Linux {
    pub(crate) fn new(builder: Option<RootBuilder>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let id: String = SandboxId::generate().as_str()[18..].replace(['0', '1', '8', '9'], "a");
        let run_dir = Path::new("/run/ebbtide").join(&id);
        let mut config = LinuxConfig::new(id, home.path(), run_dir);
        config.root_builder = builder;
        config.disk_pool_bytes = 4 << 30;
        let images = Images::new(&home.path().join("images"));
        let slots_ahead = AtomicUsize::new(config.pool_slots);
        Self { config, slots_ahead, home, images, driver: Mutex::new(None) }
    }

    /// Lets go of the driver, and kills its launcher.
    pub(crate) fn kill_launcher(&self) {
        self.driver.lock().unwrap().take();
        let is_launcher = |path: &PathBuf| {
            fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "ebb-launcher")
        };
        for process in self.processes().into_iter().filter(is_launcher) {
            let pid = process.file_name().unwrap().to_str().unwrap().parse().unwrap();
            kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
            while fs::read_to_string(process.join("cmdline")).is_ok_and(|line| !line.is_empty()) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// The cgroup of a sandbox in the hierarchy of version 2.
    pub(crate) fn cgroup(&self, id: &SandboxId) -> PathBuf {
        let file = self.config.run_dir.join("s").join(id.as_str()).join("slot.json");
        let slot: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let base = Path::new("/sys/fs/cgroup");
        let base = if base.join("unified").is_dir() { base.join("unified") } else { base.to_owned() };
        base.join("ebbtide").join(&self.config.home_id).join(slot["slot"].as_str().unwrap())
    }

    /// The init of a sandbox, as the host knows it.
    pub(crate) fn init_pid(&self, id: &SandboxId) -> i32 {
        fs::read_to_string(self.cgroup(id).join("init/cgroup.procs")).unwrap().trim().parse().unwrap()
    }

    /// The launcher of this home and the inits, which are its clones, as directories of `/proc`.
    pub(crate) fn processes(&self) -> Vec<PathBuf> {
        let is_ours = |path: &PathBuf| {
            let line = fs::read_to_string(path.join("cmdline")).unwrap_or_default();
            line.contains(ROLE) && line.contains(&self.config.home_id)
        };
        fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()).filter(is_ours).collect()
    }

    /// Ends the launcher and looks, without asking anything of the driver, at what is left.
    pub(crate) async fn end(&self) -> Result<(), DriverError> {
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
        let loops =
            entries("/sys/block").filter(|path| text(&path.join("loop/backing_file")).contains(&*home));
        let claims = entries("/run/ebbtide/ids").filter(|path| text(path).contains(id));
        let run = entries(&self.config.run_dir.to_string_lossy());
        let all = cgroups.chain(self.processes()).chain(loops).chain(claims).chain(run);
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
        let mut config = self.config.clone();
        config.pool_slots = self.slots_ahead.load(Ordering::SeqCst);
        let driver = Arc::new(LinuxDriver::connect(config).await?);
        *self.driver.lock().unwrap() = Some(Arc::clone(&driver));
        Ok(driver)
    }

    async fn kill_init(&self, id: &SandboxId) -> bool {
        kill_process(Pid::from_raw(self.init_pid(id)).unwrap(), Signal::KILL).is_ok()
    }

    async fn image(&self) -> Option<LayeredRoot> {
        Some(self.images.image("busybox", &[]))
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

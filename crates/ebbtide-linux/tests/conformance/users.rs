//! Users of images; and what the tests of this driver share.

use std::fs;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ebbtide_driver::conformance::Harness;
use ebbtide_driver::{
    AtMainEnd, DeadMansSwitch, DestroyOutcome, Driver, DriverError, ExecEvent, ExecRequest, FileErrorKind,
    LayeredRoot, RootImage, SandboxPlan, WindowSize, WriteOptions,
};
use ebbtide_model::{Command, EffectiveResources, SandboxId};

use crate::home::Linux;
use crate::image::make_dir;

/// One promise of this driver, and how to find out.
pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) run: for<'a> fn(&'a Linux) -> Pin<Box<dyn Future<Output = ()> + 'a>>,
}

macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        &[$(Test { name: stringify!($name), run: |linux| Box::pin($name(linux)) }),+]
    };
}
pub(crate) use tests;

pub(crate) const TESTS: &[Test] = tests![
    a_user_has_the_groups_and_the_home_of_the_image_and_no_capabilities,
    streams_and_terminals_belong_to_the_user,
    files_are_read_and_written_with_the_rights_of_the_user,
    a_user_may_begin_in_a_directory_that_it_cannot_enter,
];

pub(crate) async fn driver(linux: &Linux) -> Arc<dyn Driver> {
    linux.reconnect().await.unwrap()
}

/// An idle sandbox of an image.
pub(crate) fn plan(image: &LayeredRoot) -> SandboxPlan {
    SandboxPlan {
        id: SandboxId::generate(),
        image: RootImage::Layers(image.clone()),
        main: Command::default(),
        user: None,
        stop_signal: None,
        files: Vec::new(),
        resources: EffectiveResources { memory_bytes: 256 << 20, disk_bytes: 64 << 20, ..Default::default() },
        lifetime: Duration::from_secs(120),
        switch: DeadMansSwitch::Off,
        at_main_end: AtMainEnd::End,
    }
}

pub(crate) async fn create(driver: &Arc<dyn Driver>, plan: &SandboxPlan) {
    driver.create(plan).await.unwrap_or_else(|error| panic!("create: {error}"));
}

pub(crate) async fn destroy(driver: &Arc<dyn Driver>, id: &SandboxId) {
    let DestroyOutcome::Destroyed { receipt, .. } = driver.destroy(id).await.unwrap() else {
        panic!("{id} was gone")
    };
    assert_eq!(receipt.left, []);
}

/// What a script writes, to both streams.
pub(crate) async fn output(driver: &Arc<dyn Driver>, id: &SandboxId, script: &str) -> String {
    written(driver, id, script, None).await
}

async fn written(
    driver: &Arc<dyn Driver>,
    id: &SandboxId,
    script: &str,
    terminal: Option<WindowSize>,
) -> String {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    let command = Command { argv, ..Command::default() };
    let mut exec = driver.exec(id, ExecRequest { command, stdin: false, terminal }).await.unwrap();
    let mut written = Vec::new();
    let reading = async {
        loop {
            match exec.events.next().await.unwrap() {
                ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => written.extend(bytes),
                ExecEvent::Exit(_) => return,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap();
    String::from_utf8(written).unwrap()
}

fn as_worker(linux: &Linux, layers: &[&str]) -> SandboxPlan {
    let mut plan = plan(&linux.images.image("users", layers));
    plan.user = Some("worker".to_owned());
    plan
}

async fn a_user_has_the_groups_and_the_home_of_the_image_and_no_capabilities(linux: &Linux) {
    let driver = driver(linux).await;
    let plan = as_worker(linux, &[]);
    create(&driver, &plan).await;
    let script =
        "id -u; id -g; id -G; echo $HOME; grep -E 'Cap(Inh|Prm|Eff|Amb)|NoNewPrivs' /proc/self/status";
    let none = "0000000000000000";
    let expected = format!(
        "1000\n1001\n1001 50 51\n/home/worker\n\
         CapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\nCapAmb:\t{none}\nNoNewPrivs:\t1\n"
    );
    assert_eq!(output(&driver, &plan.id, script).await, expected);
    destroy(&driver, &plan.id).await;
}

async fn streams_and_terminals_belong_to_the_user(linux: &Linux) {
    let driver = driver(linux).await;
    let plan = as_worker(linux, &[]);
    create(&driver, &plan).await;
    let script = "echo out > /dev/stdout; echo err > /dev/stderr";
    assert_eq!(output(&driver, &plan.id, script).await, "out\nerr\n");
    let script = "stat -c '%u %g' /dev/pts/0; echo typed > /dev/tty; echo by name > /dev/pts/0";
    let shown = written(&driver, &plan.id, script, Some(WindowSize { columns: 80, rows: 24 })).await;
    assert_eq!(shown, "1000 5\r\ntyped\r\nby name\r\n");
    destroy(&driver, &plan.id).await;
}

async fn files_are_read_and_written_with_the_rights_of_the_user(linux: &Linux) {
    let layer = linux.images.layer("secret");
    fs::write(layer.join("secret"), "").unwrap();
    fs::set_permissions(layer.join("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let driver = driver(linux).await;
    let plan = as_worker(linux, &["secret"]);
    create(&driver, &plan).await;
    let denied = |error: DriverError| match error {
        DriverError::File(error) => assert_eq!(error.kind, FileErrorKind::PermissionDenied),
        error => panic!("{error}"),
    };
    denied(driver.open_read(&plan.id, "/secret").await.unwrap_err());
    denied(driver.open_write(&plan.id, "/etc/file", WriteOptions::default()).await.map(drop).unwrap_err());
    let mut sink = driver.open_write(&plan.id, "/tmp/new/file", WriteOptions::default()).await.unwrap();
    sink.write(b"content").await.unwrap();
    sink.commit().await.unwrap();
    let script = "stat -c '%u:%g %a' /tmp/new /tmp/new/file; cat /tmp/new/file";
    assert_eq!(output(&driver, &plan.id, script).await, "1000:1001 755\n1000:1001 644\ncontent");
    destroy(&driver, &plan.id).await;
}

async fn a_user_may_begin_in_a_directory_that_it_cannot_enter(linux: &Linux) {
    make_dir(&linux.images.layer("closed").join("closed"), 0o700);
    let driver = driver(linux).await;
    for (directory, owner) in [("/closed", "0 700"), ("/made/for it", "0 755")] {
        let mut plan = as_worker(linux, &["closed"]);
        plan.main.working_dir = Some(directory.to_owned());
        create(&driver, &plan).await;
        let script = format!("pwd; stat -c '%u %a' '{directory}'");
        assert_eq!(output(&driver, &plan.id, &script).await, format!("{directory}\n{owner}\n"));
        destroy(&driver, &plan.id).await;
    }
}

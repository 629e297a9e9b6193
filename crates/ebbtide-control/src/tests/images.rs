//! Images that take their time, or never come.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use ebbtide_driver::DriverError;
use ebbtide_driver::RootImage;
use ebbtide_driver::fake::Call;
use ebbtide_model::{ErrorReason, HOST_IMAGE, Invalid, MadeOf, SandboxId, StopOptions, TerminationReason};
use tokio::sync::watch;

use super::*;
use crate::{
    EventFilter, EventItem, EventKind, ImageDefaults, ImageRequest, Images, PrepareError, PreparedImage,
    Progress,
};

const DIGEST: &str = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

/// Images that are made ready when the test says so.
struct Slow {
    ready: watch::Sender<bool>,
    preparing: AtomicUsize,
    held: Arc<()>,
    defaults: ImageDefaults,
}

impl Slow {
    fn new(defaults: ImageDefaults) -> Arc<Self> {
        let (preparing, held) = (AtomicUsize::new(0), Arc::new(()));
        Arc::new(Self { ready: watch::Sender::new(false), preparing, held, defaults })
    }

    fn in_hand(self: &Arc<Self>) -> Home {
        let mut home = Home::new();
        home.config.images = Arc::clone(self) as Arc<dyn Images>;
        home
    }

    fn preparing(&self) -> usize {
        self.preparing.load(Ordering::SeqCst)
    }
}

/// Counts a preparation for as long as somebody waits for it.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Images for Slow {
    async fn check(&self, request: &ImageRequest) -> Result<(), Invalid> {
        match request.name.as_str() {
            "circle" => Err(Invalid::new("image", "leads in a circle", "another name")),
            _ => Ok(()),
        }
    }

    async fn prepare(
        &self,
        request: &ImageRequest,
        progress: Progress<'_>,
    ) -> Result<PreparedImage, PrepareError> {
        if request.name == HOST_IMAGE {
            return Ok(PreparedImage::host());
        }
        self.preparing.fetch_add(1, Ordering::SeqCst);
        let _counted = Counted(&self.preparing);
        for layer in 0..20 {
            progress(format!("pulling {}: {layer} of 20 layers", request.name));
        }
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
        if request.name == "absent" {
            return Err(PrepareError::new("no image \"absent\" in docker.io; check the name"));
        }
        let command = self.defaults.entrypoint.iter().chain(&self.defaults.cmd).cloned().collect();
        Ok(PreparedImage {
            root: RootImage::Host,
            defaults: self.defaults.clone(),
            made_of: MadeOf { digest: Some(DIGEST.to_owned()), command },
            hold: Some(Box::new(Arc::clone(&self.held))),
        })
    }
}

fn image(name: &str) -> SandboxSpec {
    SandboxSpec::new(name)
}

async fn pulling(control: &Control, id: &str) {
    let said = || async { control.get(&ME, id).await.unwrap().message };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !said().await.contains("19 of 20 layers") {
        assert!(tokio::time::Instant::now() < deadline, "{}", said().await);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(control.get(&ME, id).await.unwrap().state, State::Pending);
}

fn preparing_events(control: &Control) -> usize {
    let mut events = control.events(&ME, EventFilter::default());
    let told = std::iter::from_fn(|| events.try_next());
    told.filter(|item| matches!(item, EventItem::Event(event) if event.kind == EventKind::Preparing)).count()
}

#[tokio::test]
async fn a_pull_is_seen_while_it_lasts_and_costs_no_commit_of_the_ledger() {
    let images = Slow::new(ImageDefaults::default());
    let control = images.in_hand().open().await;
    let before = control.engine().store.commits();
    let id = create(&control, image("python:3.11")).await;
    pulling(&control, &id).await;
    assert_eq!(control.engine().store.commits() - before, 1, "the intent");
    assert_eq!(preparing_events(&control), 1, "many steps of progress are one event");
    images.ready.send_replace(true);
    let made = reach(&control, &id, State::Running).await;
    assert_eq!(made.message, "");
    assert_eq!(made.made_of.unwrap().digest.as_deref(), Some(DIGEST));
}

#[tokio::test]
async fn an_image_that_cannot_be_had_fails_the_create_with_its_own_words() {
    let images = Slow::new(ImageDefaults::default());
    let control = images.in_hand().open().await;
    images.ready.send_replace(true);
    let id = create(&control, image("absent")).await;
    let ended = wait(&control, &id).await;
    assert_eq!((ended.state, ended.reason), (State::Failed, Some(TerminationReason::CreateFailed)));
    assert_eq!(ended.message, "no image \"absent\" in docker.io; check the name");
    let error = exec(&control, &id, &["true"]).await.unwrap_err();
    assert_eq!(error.reason(), ErrorReason::SandboxNotRunning);
}

#[tokio::test]
async fn what_can_never_be_had_is_refused_before_it_is_recorded() {
    let images = Slow::new(ImageDefaults::default());
    let control = images.in_hand().open().await;
    let before = control.engine().store.commits();
    let error = control.create(&ME, image("circle"), "").await.unwrap_err();
    assert_eq!(error.reason(), ErrorReason::InvalidRequest, "{error}");
    let mut spec = idle();
    for (cpu, memory, field) in
        [(Some("5"), None, "resources.limits.cpu"), (None, Some("9Gi"), "resources.limits.memory")]
    {
        spec.resources.limits.cpu = cpu.map(|text| text.parse().unwrap());
        spec.resources.limits.memory = memory.map(|text| text.parse().unwrap());
        let error = control.create(&ME, spec.clone(), "").await.unwrap_err();
        assert_eq!(error.reason(), ErrorReason::ResourceCeilingExceeded, "{error}");
        assert!(error.to_string().starts_with(field), "{error}");
        // A limit beside a request that fits is a limit, however high.
        spec.resources.requests =
            ebbtide_model::Amounts { cpu: Some("1".parse().unwrap()), memory: Some("1Gi".parse().unwrap()) };
        assert!(control.create(&ME, std::mem::replace(&mut spec, idle()), "").await.is_ok());
    }
    assert_eq!(control.engine().store.commits() - before, 2);
}

#[tokio::test]
async fn a_stop_ends_a_pull_at_once() {
    let images = Slow::new(ImageDefaults::default());
    let home = images.in_hand();
    let control = home.open().await;
    let id = create(&control, image("python:3.11")).await;
    pulling(&control, &id).await;
    control.stop(&ME, &id, StopOptions::NOW).await.unwrap();
    let ended = wait(&control, &id).await;
    assert_eq!((ended.state, ended.reason), (State::Completed, Some(TerminationReason::Stopped)));
    assert_eq!(ended.exit_code, None, "it never ran");
    assert_eq!((ended.started_at, ended.message.as_str()), (None, ""));
    assert_eq!((images.preparing(), home.exists().await), (0, 0));
}

#[tokio::test]
async fn a_pull_ends_with_the_lifetime_of_the_sandbox_that_waits_for_it() {
    let images = Slow::new(ImageDefaults::default());
    let control = images.in_hand().open().await;
    let spec = SandboxSpec { max_lifetime: Some(Duration::from_millis(300)), ..image("python:3.11") };
    let ended = wait(&control, &create(&control, spec).await).await;
    assert_eq!((ended.state, ended.reason), (State::Failed, Some(TerminationReason::LifetimeExpired)));
    assert!(ended.message.contains("image"), "{}", ended.message);
    assert_eq!(images.preparing(), 0);
}

#[tokio::test]
async fn a_pull_that_a_daemon_did_not_finish_is_begun_again_by_the_next() {
    let images = Slow::new(ImageDefaults::default());
    let home = images.in_hand();
    let control = home.open().await;
    let id = create(&control, image("python:3.11")).await;
    pulling(&control, &id).await;
    crash(control).await;
    assert_eq!(images.preparing(), 0);
    let control = home.open().await;
    pulling(&control, &id).await;
    images.ready.send_replace(true);
    reach(&control, &id, State::Running).await;
}

#[tokio::test]
async fn a_hundred_creates_that_wait_for_an_image_hold_up_nobody_else() {
    let images = Slow::new(ImageDefaults::default());
    let control = images.in_hand().open().await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(create(&control, image("python:3.11")).await);
    }
    running(&control, idle()).await;
    assert_eq!(images.preparing(), 100);
    assert_eq!(control.engine().creates.available_permits(), 4);
    images.ready.send_replace(true);
    for id in &ids {
        reach(&control, id, State::Running).await;
    }
    assert_eq!(Arc::strong_count(&images.held), 1, "nobody holds the image but the sandboxes themselves");
}

#[tokio::test]
async fn an_image_is_held_until_the_driver_has_made_the_sandbox() {
    let images = Slow::new(ImageDefaults::default());
    let home = images.in_hand();
    home.world.delay_creates(Duration::from_millis(200));
    images.ready.send_replace(true);
    let control = home.open().await;
    let id = create(&control, image("python:3.11")).await;
    reach(&control, &id, State::Creating).await;
    assert_eq!(Arc::strong_count(&images.held), 2);
    home.world.fail_next(Call::Create, DriverError::NoRoom { what: "the disk".to_owned() });
    let failed = create(&control, image("python:3.11")).await;
    wait(&control, &failed).await;
    reach(&control, &id, State::Running).await;
    assert_eq!(Arc::strong_count(&images.held), 1);
}

#[tokio::test]
async fn a_command_waits_for_an_image_longer_than_for_anything_else() {
    let images = Slow::new(ImageDefaults::default());
    let mut home = images.in_hand();
    home.config.timing.exec_wait = Duration::from_millis(50);
    let control = home.open().await;
    let id = create(&control, image("python:3.11")).await;
    let later = {
        let images = Arc::clone(&images);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(400)).await;
            images.ready.send_replace(true);
        })
    };
    assert_eq!(exec(&control, &id, &["echo", "hi"]).await.unwrap().0, "hi\n");
    later.await.unwrap();
}

#[tokio::test]
async fn what_the_image_says_holds_where_the_request_says_nothing() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let images = Slow::new(ImageDefaults {
        entrypoint: words("sh -c"),
        cmd: words("true"),
        env: vec![("A".into(), "image".into()), ("B".into(), "image".into())],
        working_dir: Some("/tmp".into()),
        user: Some("nobody:nogroup".into()),
        stop_signal: Some(2),
    });
    images.ready.send_replace(true);
    let home = images.in_hand();
    let control = home.open().await;
    let mut spec = image("python:3.11");
    spec.args = vec!["sleep 60".into()];
    spec.main.env = BTreeMap::from([("B".to_owned(), "mine".to_owned())]);
    let id: SandboxId = running(&control, spec).await.parse().unwrap();
    let plan = home.world.plan(&id).unwrap();
    assert_eq!(plan.main.argv, ["sh", "-c", "sleep 60"]);
    assert_eq!((plan.main.env["A"].as_str(), plan.main.env["B"].as_str()), ("image", "mine"));
    assert_eq!(plan.main.working_dir.as_deref(), Some("/tmp"));
    assert_eq!((plan.user.as_deref(), plan.stop_signal), (Some("nobody:nogroup"), Some(2)));
    // The image's own command is a main command like any other.
    let ended = wait(&control, &create(&control, image("python:3.11")).await).await;
    assert_eq!((ended.state, ended.exit_code), (State::Completed, Some(0)));
    assert_eq!(ended.reason, Some(TerminationReason::MainExited));
}

#[tokio::test]
async fn a_sandbox_on_an_image_without_a_command_idles_also_for_the_next_daemon() {
    let images = Slow::new(ImageDefaults::default());
    images.ready.send_replace(true);
    let home = images.in_hand();
    let control = home.open().await;
    let id = running(&control, image("python:3.11")).await;
    control.close().await;
    let control = home.open().await;
    let record = reach(&control, &id, State::Running).await;
    assert!(record.idles());
    assert_eq!(record.made_of.unwrap().digest.as_deref(), Some(DIGEST));
    control.stop(&ME, &id, StopOptions::NOW).await.unwrap();
    let ended = wait(&control, &id).await;
    assert_eq!((ended.state, ended.exit_code), (State::Completed, Some(0)));
}

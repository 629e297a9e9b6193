//! Making sandboxes, and listing them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use ebbtide_model::{Command, ExitStatus};

use super::context::{Context, Failure, ensure, ensure_eq, sh, words};
use super::scripts;
use crate::{DriverError, EndCause, LayeredRoot, Phase, RootImage};

pub(super) async fn create_makes_a_sandbox_that_runs_commands(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    ensure_eq("phase after create", context.phase(&id).await?, Some(Phase::Running))?;
    ensure_eq("true", context.run(&id, words(&["true"])).await?.status, ExitStatus::Code(0))
}

pub(super) async fn repeated_create_leaves_a_running_sandbox_alone(
    context: &Context<'_>,
) -> Result<(), Failure> {
    let plan = context.plan(sh(scripts::COUNT_STARTS, &[]));
    context.create(&plan).await?;
    context.run(&plan.id, sh(scripts::MARK, &[])).await?;
    context.create(&plan).await?;
    context.reconnect().await?;
    context.create(&plan).await?;
    ensure(context.holds(&plan.id, scripts::IS_MARKED, "").await?, || "its files were lost".to_owned())?;
    let starts = context.run(&plan.id, sh(scripts::SHOW_STARTS, &[])).await?.stdout;
    ensure_eq("starts of the main command", starts.as_slice(), scripts::ONE_START)
}

pub(super) async fn concurrent_creates_of_one_id_make_one(context: &Context<'_>) -> Result<(), Failure> {
    let plan = context.plan(sh(scripts::COUNT_STARTS, &[]));
    let create = || context.create(&plan);
    let (first, second, third) = tokio::join!(create(), create(), create());
    first.and(second).and(third)?;
    let existing = context.soon("list", context.driver()?.list()).await?;
    ensure_eq("sandboxes", existing.len(), 1)?;
    let starts = context.run(&plan.id, sh(scripts::SHOW_STARTS, &[])).await?.stdout;
    ensure_eq("starts of the main command", starts.as_slice(), scripts::ONE_START)
}

pub(super) async fn dropped_create_is_finished_or_undone(context: &Context<'_>) -> Result<(), Failure> {
    for delay in [0, 1, 3, 10].map(Duration::from_millis) {
        let plan = context.plan(sh(scripts::COUNT_STARTS, &[]));
        // Whether this one is in time does not matter.
        let _ = tokio::time::timeout(delay, context.driver()?.create(&plan)).await;
        context
            .eventually("a dropped create is finished or undone", || async {
                Ok(context.phase(&plan.id).await? != Some(Phase::Made))
            })
            .await?;
        context.create(&plan).await?;
        let starts = context.run(&plan.id, sh(scripts::SHOW_STARTS, &[])).await?.stdout;
        ensure_eq("starts of the main command", starts.as_slice(), scripts::ONE_START)?;
        context.destroy(&plan.id).await?;
    }
    Ok(())
}

pub(super) async fn repeated_create_does_not_run_an_ended_sandbox_again(
    context: &Context<'_>,
) -> Result<(), Failure> {
    let plan = context.plan(sh(scripts::EXIT_7, &[]));
    context.create(&plan).await?;
    let report = context.ended(&plan.id).await?;
    match context.bounded("create of an ended sandbox", context.driver()?.create(&plan)).await? {
        Ok(()) | Err(DriverError::NotRunning(_)) => {}
        Err(error) => return Err(Failure::Broken(format!("create of an ended sandbox: {error}"))),
    }
    ensure_eq("phase", context.phase(&plan.id).await?, Some(Phase::Ended))?;
    ensure_eq("report", context.ended(&plan.id).await?, report)
}

pub(super) async fn sandbox_of_layers_has_what_they_hold(context: &Context<'_>) -> Result<(), Failure> {
    let Some(image) = context.harness.image().await else {
        return Err(Failure::Skipped("this harness has no image of layers".to_owned()));
    };
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut plan = context.plan(Command::default());
        plan.image = RootImage::Layers(image.clone());
        context.create(&plan).await?;
        let held = context.run(&plan.id, sh(scripts::SHOW_IMAGE, &[])).await?.stdout;
        ensure_eq("what the image holds", String::from_utf8_lossy(&held).as_ref(), "image\n")?;
        ids.push(plan.id);
    }
    context.run(&ids[0], sh(scripts::MARK, &[])).await?;
    ensure(!context.holds(&ids[1], scripts::IS_MARKED, "").await?, || {
        "a file of one sandbox is seen in another of the same image".to_owned()
    })
}

pub(super) async fn working_directory_of_the_main_command_is_made(
    context: &Context<'_>,
) -> Result<(), Failure> {
    let directory = "/opt/ebbtide/made for it";
    for main in [Command::default(), words(&["sleep", "300"])] {
        let plan = context.plan(Command { working_dir: Some(directory.to_owned()), ..main });
        context.create(&plan).await?;
        let told = context.run(&plan.id, words(&["pwd"])).await?.stdout;
        let told = String::from_utf8_lossy(&told);
        ensure_eq("working directory of a command", told.trim_end(), directory)?;
    }
    Ok(())
}

pub(super) async fn image_that_is_gone_is_refused_and_leaves_nothing(
    context: &Context<'_>,
) -> Result<(), Failure> {
    let mut plan = context.plan(Command::default());
    let store = PathBuf::from("/ebbtide-no-such-store");
    let hold = store.join("image");
    plan.image = RootImage::Layers(LayeredRoot { store, layers: vec!["layer".to_owned()], hold });
    match context.bounded("create", context.driver()?.create(&plan)).await? {
        Err(DriverError::ImageGone { .. }) => {}
        other => return Err(Failure::Broken(format!("create answered with {other:?}"))),
    }
    ensure_eq("phase", context.phase(&plan.id).await?, None)
}

/// Either create refuses it and leaves nothing, or the sandbox ends at once and says so.
pub(super) async fn missing_main_command_does_not_go_unnoticed(context: &Context<'_>) -> Result<(), Failure> {
    let plan = context.plan(words(&["ebbtide-no-such-command"]));
    match context.bounded("create", context.driver()?.create(&plan)).await? {
        Err(DriverError::CommandNotFound { .. }) => ensure_eq("phase", context.phase(&plan.id).await?, None),
        Ok(()) => {
            let report = context.ended(&plan.id).await?;
            let found = (report.cause, report.exit);
            ensure_eq("report", found, (EndCause::MainExited, Some(ExitStatus::Code(127))))
        }
        Err(error) => Err(Failure::Broken(format!("create answered with {error:?}"))),
    }
}

pub(super) async fn sandboxes_do_not_share_files(context: &Context<'_>) -> Result<(), Failure> {
    let (first, second) = (context.idle().await?, context.idle().await?);
    context.run(&first, sh(scripts::MARK, &[])).await?;
    ensure(context.holds(&first, scripts::IS_MARKED, "").await?, || "a file was lost".to_owned())?;
    ensure(!context.holds(&second, scripts::IS_MARKED, "").await?, || {
        "a file of one sandbox is seen in another".to_owned()
    })
}

pub(super) async fn list_shows_exactly_what_exists(context: &Context<'_>) -> Result<(), Failure> {
    let (first, second, third) = (context.idle().await?, context.idle().await?, context.idle().await?);
    context.stop(&second, Duration::ZERO).await?;
    context.ended(&second).await?;
    let listed = || async {
        let existing = context.soon("list", context.driver()?.list()).await?;
        let ids: BTreeSet<_> = existing.iter().map(|sandbox| sandbox.id.clone()).collect();
        ensure_eq("ids in the list", ids.len(), existing.len())?;
        Ok::<_, Failure>(ids)
    };
    ensure_eq("list", listed().await?, [&first, &second, &third].map(Clone::clone).into())?;
    context.destroy(&first).await?;
    ensure_eq("list after a destroy", listed().await?, [&second, &third].map(Clone::clone).into())?;
    ensure_eq("phase of the ended", context.phase(&second).await?, Some(Phase::Ended))?;
    ensure_eq("phase of the running", context.phase(&third).await?, Some(Phase::Running))
}

//! The clean-up that the steps of a driver add up to, in each state that a sandbox can be in.

use std::time::Duration;

use ebbtide_model::{KeepAs, SandboxId};

use super::context::{Context, Failure, ensure_eq, sh, words};
use super::scripts;
use crate::clean_up::{CleanUp, CleanedUp, clean_up};
use crate::{DeadMansSwitch, Phase};

const END: CleanUp = CleanUp { keep: None, grace: Duration::ZERO };
const END_WITH_GRACE: CleanUp = CleanUp { keep: None, grace: Duration::from_secs(5) };

fn keep(what: KeepAs) -> CleanUp {
    CleanUp { keep: Some((what, DeadMansSwitch::Off)), ..END }
}

/// The name of an outcome, of which a check cannot know the rest.
fn name(outcome: &CleanedUp) -> String {
    match outcome {
        CleanedUp::Kept => "kept".to_owned(),
        CleanedUp::Destroyed { .. } => "destroyed".to_owned(),
        CleanedUp::AlreadyGone => "already gone".to_owned(),
        CleanedUp::RetryLater(error) | CleanedUp::Failed(error) => error.to_string(),
    }
}

async fn comes_to(
    context: &Context<'_>,
    what: &str,
    id: &SandboxId,
    wish: &CleanUp,
    expected: &str,
) -> Result<(), Failure> {
    let driver = context.driver()?;
    let outcome = context.bounded("a clean-up", clean_up(driver.as_ref(), id, wish)).await?;
    ensure_eq(what, name(&outcome).as_str(), expected)
}

pub(super) async fn clean_up_comes_to_its_outcome_whatever_it_finds(
    context: &Context<'_>,
) -> Result<(), Failure> {
    let unknown = SandboxId::generate();
    for wish in [END, END_WITH_GRACE, keep(KeepAs::Paused)] {
        comes_to(context, "clean-up of one that never was", &unknown, &wish, "already gone").await?;
    }
    for wish in [END, END_WITH_GRACE] {
        let running = context.sandbox(words(&["sleep", "300"])).await?;
        let paused = context.sandbox(words(&["sleep", "300"])).await?;
        context.soon("pause", context.driver()?.pause(&paused)).await?;
        let ended = context.sandbox(sh(scripts::EXIT_7, &[])).await?;
        context.ended(&ended).await?;
        for (state, id) in [("runs", running), ("is paused", paused), ("has ended", ended)] {
            comes_to(context, &format!("clean-up of one that {state}"), &id, &wish, "destroyed").await?;
            comes_to(context, "the same again", &id, &wish, "already gone").await?;
        }
    }
    Ok(())
}

pub(super) async fn what_a_clean_up_preserves_is_there_until_another_ends_it(
    context: &Context<'_>,
) -> Result<(), Failure> {
    for (what, phase) in
        [(KeepAs::Running, Phase::Running), (KeepAs::Paused, Phase::Paused), (KeepAs::Files, Phase::Running)]
    {
        let id = context.sandbox(words(&["sleep", "300"])).await?;
        for _ in 0..2 {
            comes_to(context, &format!("clean-up that keeps it {what}"), &id, &keep(what), "kept").await?;
            ensure_eq(&format!("phase of one kept {what}"), context.phase(&id).await?, Some(phase))?;
        }
        comes_to(context, "clean-up of what was kept", &id, &END, "destroyed").await?;
    }
    let ended = context.sandbox(sh(scripts::EXIT_7, &[])).await?;
    context.ended(&ended).await?;
    comes_to(context, "keeping one that has ended", &ended, &keep(KeepAs::Running), "destroyed").await
}

//! Who commands run as.

use ebbtide_model::{Command, ExitStatus};

use super::context::{Context, Failure, ensure_eq, sh};
use super::scripts;
use crate::DriverError;

pub(super) async fn commands_run_as_the_user(context: &Context<'_>) -> Result<(), Failure> {
    let users = [
        (None, "0\n0\n"),
        (Some("nobody"), "65534\n65534\n"),
        (Some("65534"), "65534\n65534\n"),
        (Some("1234"), "1234\n0\n"),
        (Some("1234:77"), "1234\n77\n"),
        (Some("root:nogroup"), "0\n65534\n"),
    ];
    for (user, expected) in users {
        let mut plan = context.plan(sh(scripts::KEEP_USER, &[]));
        plan.user = user.map(str::to_owned);
        context.create(&plan).await?;
        let told = context.run(&plan.id, sh(scripts::SHOW_USER, &[])).await?;
        ensure_eq("who a command runs as", String::from_utf8_lossy(&told.stdout).as_ref(), expected)?;
        let told = context.run(&plan.id, sh(scripts::SHOW_KEPT, &[])).await?;
        ensure_eq("who the main command runs as", String::from_utf8_lossy(&told.stdout).as_ref(), expected)?;
        ensure_eq("showing it", told.status, ExitStatus::Code(0))?;
        context.destroy(&plan.id).await?;
    }
    Ok(())
}

pub(super) async fn unknown_user_is_refused_and_leaves_nothing(context: &Context<'_>) -> Result<(), Failure> {
    for user in ["ebbtide-no-such-user", "root:ebbtide-no-such-group", "4000000000"] {
        let mut plan = context.plan(Command::default());
        plan.user = Some(user.to_owned());
        match context.bounded("create", context.driver()?.create(&plan)).await? {
            Err(DriverError::UnknownUser { user: told }) => ensure_eq("user", told.as_str(), user)?,
            other => return Err(Failure::Broken(format!("create as {user:?} answered with {other:?}"))),
        }
        ensure_eq("phase", context.phase(&plan.id).await?, None)?;
    }
    Ok(())
}

//! The Linux driver passes the kit, with each way of building roots that this kernel can do, and on a root of layers;
//! and keeps what it promises about layers. Needs root.
//!
//! The program is its own launcher: `/proc/self/exe internal-launcher` lands in `main` again.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod deserted;
mod home;
mod image;
mod layers;
mod on_layers;
mod pause;
mod receipt;
mod speed;
mod users;

use std::process::ExitCode;

use ebbtide_driver::conformance::{CHECKS, run_check};
use ebbtide_linux::RootBuilder;
use home::Linux;
use libtest_mimic::{Arguments, Failed, Trial};
use on_layers::OnLayers;
use users::Test;

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
    let supported = builders.into_iter().filter(|(_, builder)| builder.is_supported());
    let mut trials: Vec<Trial> = supported.flat_map(|(name, builder)| trials(name, builder)).collect();
    // With what suits the kernel best.
    trials.extend(CHECKS.iter().map(|check| {
        trial(format!("on_layers::{}", check.name), None, async move |linux| {
            run_check(&OnLayers::new(linux), check)
                .await
                .result
                .map_err(|failure| format!("{failure:?}").into())
        })
    }));
    let own = pause::TESTS.iter().chain(receipt::TESTS).chain(deserted::TESTS);
    trials.extend(own.map(|test| own_trial("host", None, test)));
    trials.extend(speed::TESTS.iter().map(|test| own_trial("speed", None, test).with_ignored_flag(true)));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Everything that depends on how roots are built.
fn trials(name: &'static str, builder: RootBuilder) -> impl Iterator<Item = Trial> {
    let kit = CHECKS.iter().map(move |check| {
        trial(format!("{name}::{}", check.name), Some(builder), async move |linux| {
            run_check(linux, check).await.result.map_err(|failure| format!("{failure:?}").into())
        })
    });
    let own = layers::TESTS.iter().chain(users::TESTS);
    kit.chain(own.map(move |test| own_trial(name, Some(builder), test)))
}

fn own_trial(group: &str, builder: Option<RootBuilder>, test: &'static Test) -> Trial {
    trial(format!("{group}::{}", test.name), builder, async move |linux| {
        (test.run)(linux).await;
        Ok(())
    })
}

/// One check in a home of its own, which must be empty in the end.
fn trial<F>(name: String, builder: Option<RootBuilder>, run: F) -> Trial
where
    F: AsyncFnOnce(&Linux) -> Result<(), Failed> + Send + 'static,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let linux = Linux::new(builder);
            let outcome = run(&linux).await;
            linux.end().await.map_err(|error| error.to_string())?;
            outcome
        })
    })
}

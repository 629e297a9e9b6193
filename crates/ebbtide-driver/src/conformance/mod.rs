//! The checks that every driver must pass.
//!
//! A check speaks to a driver through its trait alone, so the same list runs on processes, on Pods and on the
//! fake driver. The commands it runs are plain POSIX (see `scripts`). Each check has a bound in time, so a
//! driver that hangs has failed a check; and after each check the runner destroys what the check made and counts
//! what is left, so a leak in any of them is a failure of its own.
//!
//! ```no_run
//! # async fn test(harness: impl ebbtide_driver::conformance::Harness) {
//! let outcomes = ebbtide_driver::conformance::run(&harness).await;
//! outcomes.iter().for_each(|outcome| println!("{outcome}"));
//! assert!(outcomes.iter().all(|outcome| !outcome.failed()));
//! # }
//! ```

mod adopt;
mod attention;
mod clean_up;
mod context;
mod create;
mod deadline;
mod destroy;
mod end;
mod exec;
mod files;
mod log;
mod main_end;
mod owner;
mod pause;
pub mod scripts;
mod stop;
mod streams;
mod terminal;
mod user;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ebbtide_model::SandboxId;

pub use context::{Context, Failure};

use crate::{Driver, DriverError, LayeredRoot, Leftover};

/// What the kit needs to know of a driver's surroundings.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A driver without sandboxes. Asked for before every check; no earlier handle is left by then.
    async fn fresh(&self) -> Result<Arc<dyn Driver>, DriverError>;

    /// Another handle on the same sandboxes, as after a restart of the daemon; the earlier handle is dropped.
    async fn reconnect(&self) -> Result<Arc<dyn Driver>, DriverError>;

    /// Kills the init of a running sandbox from outside; `false` if this harness cannot, which skips a check.
    async fn kill_init(&self, _id: &SandboxId) -> bool {
        false
    }

    /// What a reader that shares no code with the driver finds of it, while it has no sandboxes and beside its
    /// pools. Asked for after every check; must be nothing.
    async fn independent_leftovers(&self) -> Vec<Leftover> {
        Vec::new()
    }

    /// An image whose layers hold the programs of [`scripts`] and the file `/ebbtide-image` with the line `image`; `None`
    /// if this harness has none, which skips a check.
    async fn image(&self) -> Option<LayeredRoot> {
        None
    }

    /// How long a check waits for what should happen at once. Raise it for slow machines.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// How long a check may take, whatever it does.
    fn limit(&self) -> Duration {
        Duration::from_secs(20) + self.patience()
    }
}

/// The future of a check.
pub type Checking<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

/// One promise of the [`Driver`] trait, and how to find out whether it is kept.
#[derive(Clone, Copy)]
pub struct Check {
    /// The promise, as a name.
    pub name: &'static str,
    /// Finds out.
    pub run: for<'a> fn(&'a Context<'a>) -> Checking<'a>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! checks {
    ($($module:ident: $($name:ident),+;)+) => {
        /// Every check, in the order in which they run.
        pub const CHECKS: &[Check] = &[$($(
            Check { name: stringify!($name), run: |context| Box::pin($module::$name(context)) },
        )+)+];
    };
}

checks! {
    create: create_makes_a_sandbox_that_runs_commands, repeated_create_leaves_a_running_sandbox_alone,
        concurrent_creates_of_one_id_make_one, dropped_create_is_finished_or_undone,
        repeated_create_does_not_run_an_ended_sandbox_again, image_that_is_gone_is_refused_and_leaves_nothing,
        missing_main_command_does_not_go_unnoticed, working_directory_of_the_main_command_is_made,
        sandboxes_do_not_share_files, sandbox_of_layers_has_what_they_hold,
        list_shows_exactly_what_exists;
    user: commands_run_as_the_user, unknown_user_is_refused_and_leaves_nothing;
    exec: exec_reports_exit_code_and_signal, exec_gets_environment_and_working_directory,
        missing_command_is_a_typed_error, command_that_is_not_executable_is_a_typed_error,
        bad_working_directory_is_a_typed_error, execs_run_side_by_side, dropping_an_exec_ends_its_command,
        background_child_does_not_delay_the_exit, signals_reach_the_command, signal_after_the_exit_is_no_error,
        exec_after_the_end_is_refused, unknown_id_is_not_found;
    streams: both_output_streams_arrive_apart, stdin_reaches_the_command_and_ends,
        exec_without_stdin_reads_an_empty_one, large_output_is_intact, large_input_is_intact,
        unread_output_stops_the_command, no_event_is_lost_by_dropping_a_wait;
    terminal: terminal_is_one_inside_and_has_its_size, resize_is_seen_inside,
        interrupt_byte_is_a_signal_for_the_foreground, end_of_file_byte_ends_the_input,
        shutting_the_keyboard_down_ends_the_input, terminal_is_hung_up_with_its_stream,
        everything_a_terminal_showed_comes_before_the_exit;
    files: written_file_is_read_back, replaced_file_keeps_its_mode, dropped_write_leaves_the_old_file,
        idle_write_hears_of_the_end, write_of_another_size_is_refused, paths_that_lead_to_no_file_are_typed_errors,
        large_file_is_intact_both_ways, directory_comes_back_as_it_was, mounted_files_are_there_first_and_cannot_be_written,
        files_after_the_end_are_refused;
    end: exit_code_of_the_main_command_is_reported, signal_of_the_main_command_is_reported,
        report_is_repeated_until_destroy, waiting_ends_with_destroy, killed_init_is_reported,
        want_of_memory_is_told, sandbox_is_kept_without_its_processes;
    stop: stop_lets_a_handler_finish, stop_escalates_after_the_grace, stop_without_grace_kills_at_once,
        stop_asks_execs_too, main_command_is_ended_by_its_own_signal,
        stop_of_an_idle_sandbox_does_not_wait, second_stop_shortens_the_grace,
        stop_after_the_end_changes_nothing, phase_tells_that_the_end_has_begun;
    destroy: second_destroy_finds_it_gone, concurrent_destroys_agree, destroy_ends_running_execs,
        destroy_does_not_wait_for_a_grace, destroy_hands_over_the_report,
        receipt_tells_what_was_released_and_how;
    adopt: running_sandbox_is_adopted, end_without_a_daemon_is_reported, deadline_survives_a_reconnect;
    deadline: deadline_fires_unwatched, deadline_does_not_fire_early;
    owner: owners_death_ends_it_after_the_grace, living_owner_keeps_it, dead_owner_is_not_taken_for_alive,
        forked_child_is_not_taken_for_the_owner, another_owner_ends_the_grace, switched_off_it_outlives_its_owner,
        guard_comes_too_late_for_the_end;
    attention: attended_to_it_lives, unattended_it_ends_after_the_grace, attended_to_again_it_lives_on;
    pause: paused_commands_wait_and_go_on, nothing_is_started_in_a_paused_sandbox, pause_outlives_the_daemon,
        pause_comes_too_late_for_the_end, deadline_fires_while_paused, owners_death_ends_a_paused_sandbox,
        stop_resumes_what_is_paused, stop_without_grace_kills_what_is_paused, destroy_ends_a_paused_sandbox;
    main_end: one_that_stays_outlives_its_main_command, success_ends_one_that_stays_if_it_fails,
        one_that_stays_ends_by_itself, guarded_it_stays_as_long_as_its_switch_lets_it,
        what_would_have_ended_it_ends_one_that_stays, how_its_main_command_ended_outlives_its_init;
    clean_up: clean_up_comes_to_its_outcome_whatever_it_finds,
        what_a_clean_up_preserves_is_there_until_another_ends_it;
    log: log_has_both_streams_of_the_main_command_and_no_others, large_log_is_intact,
        log_of_no_main_command_is_empty, log_reader_is_woken, log_is_read_by_several_at_their_own_pace,
        log_goes_on_without_a_daemon, log_is_kept_until_it_is_forgotten, seek_finds_any_place_of_a_log;
    destroy: shutdown_leaves_nothing;
}

/// What became of a check.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The check's name.
    pub name: &'static str,
    /// Whether the promise is kept; a leak found afterwards counts.
    pub result: Result<(), Failure>,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Whether the driver breaks the promise. A skipped check has not failed, and its text says so.
    pub fn failed(&self) -> bool {
        matches!(self.result, Err(Failure::Broken(_)))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, result, took } = self;
        match result {
            Ok(()) => write!(f, "ok       {name} ({took:.1?})"),
            Err(Failure::Skipped(why)) => write!(f, "skipped  {name}: {why}"),
            Err(Failure::Broken(how)) => write!(f, "FAILED   {name} ({took:.1?}): {how}"),
        }
    }
}

/// Runs every check, one after the other.
pub async fn run(harness: &dyn Harness) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for check in CHECKS {
        outcomes.push(run_check(harness, check).await);
    }
    outcomes
}

/// Runs one check, and cleans up after it.
pub async fn run_check(harness: &dyn Harness, check: &Check) -> Outcome {
    let start = Instant::now();
    let result = checked(harness, check).await;
    Outcome { name: check.name, result, took: start.elapsed() }
}

async fn checked(harness: &dyn Harness, check: &Check) -> Result<(), Failure> {
    let context = Context::new(harness).await?;
    let limit = harness.limit();
    let result = match tokio::time::timeout(limit, (check.run)(&context)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::Broken(format!("not over after {limit:?}"))),
    };
    // A broken promise says more than what it left behind.
    let left = context.clean_up().await;
    result.and(left)
}

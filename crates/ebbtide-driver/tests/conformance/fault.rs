//! The faults that prove the kit: each breaks one promise, names the check that must find it, and some words of
//! what the check must then say. A check that fails for any other reason proves nothing.

macro_rules! faults {
    ($($fault:ident => $check:ident: $words:literal,)+) => {
        /// A promise that is broken.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault { $($fault),+ }

        /// Every fault, the check that must find it, and words of what the check must say.
        pub(crate) const FAULTS: &[(Fault, &str, &str)] =
            &[$((Fault::$fault, stringify!($check), $words)),+];
    };
}

faults! {
    CreateDoesNothing => create_makes_a_sandbox_that_runs_commands: "phase after create: None",
    RepeatedCreateStartsAfresh => repeated_create_leaves_a_running_sandbox_alone: "files were lost",
    ConcurrentCreatesStartTwice => concurrent_creates_of_one_id_make_one: "starts of the main command",
    DroppedCreateStaysHalfMade => dropped_create_is_finished_or_undone: "finished or undone: nothing happened",
    EndedRunsAgain => repeated_create_does_not_run_an_ended_sandbox_again: "instead of",
    GoneImageAccepted => image_that_is_gone_is_refused_and_leaves_nothing: "create answered with Ok",
    FailedCreateLeavesSomething => image_that_is_gone_is_refused_and_leaves_nothing: "left behind",
    MissingMainCommandIdles => missing_main_command_does_not_go_unnoticed: "ended: nothing happened",
    MainDirectoryNotMade => working_directory_of_the_main_command_is_made: "instead of \"/opt",
    LayersIgnored => sandbox_of_layers_has_what_they_hold: "what the image holds",
    ExecsMeetInOneSandbox => sandboxes_do_not_share_files: "is seen in another",
    ListForgetsTheEnded => list_shows_exactly_what_exists: "list: ",
    ListRemembersTheDestroyed => list_shows_exactly_what_exists: "list after a destroy: ",

    UserIgnored => commands_run_as_the_user: "who a command runs as: \"0",
    UnknownUserIsRoot => unknown_user_is_refused_and_leaves_nothing: "answered with Ok",

    ExecExitCodeLost => exec_reports_exit_code_and_signal: "Code(0) instead of Code(7)",
    EnvironmentOfMainLost => exec_gets_environment_and_working_directory: "instead of \"main exec won\"",
    WorkingDirectoryIgnored => exec_gets_environment_and_working_directory: "instead of \"/tmp\"",
    MissingCommandExits127 => missing_command_is_a_typed_error: "was not refused",
    NotExecutableIsNotFound => command_that_is_not_executable_is_a_typed_error: "CommandNotFound",
    BadDirectoryIgnored => bad_working_directory_is_a_typed_error: "was not refused",
    OneExecAtATime => execs_run_side_by_side: "exec: nothing happened",
    DroppedExecLivesOn => dropping_an_exec_ends_its_command: "dropped exec ends: nothing happened",
    ExitWaitsForChildren => background_child_does_not_delay_the_exit: "next event: nothing happened",
    SignalsLost => signals_reach_the_command: "next event: nothing happened",
    SignalAfterExitFails => signal_after_the_exit_is_no_error: "signal after the exit: ",
    ExecAfterTheEndIsUntyped => exec_after_the_end_is_refused: "after the end: Unavailable",
    UnknownIdStopped => unknown_id_is_not_found: "stop of an unknown id",

    StdoutDropped => both_output_streams_arrive_apart: "stdout: []",
    StderrOnStdout => both_output_streams_arrive_apart: "stderr: []",
    StdinDropped => stdin_reaches_the_command_and_ends: "next event: nothing happened",
    StdinEofLost => stdin_reaches_the_command_and_ends: "next event: nothing happened",
    StdinUnaskedFor => exec_without_stdin_reads_an_empty_one: "next event: nothing happened",
    OutputTruncated => large_output_is_intact: "bytes instead of",
    InputByteLost => large_input_is_intact: "4088894 bytes instead of 4088895",
    OutputWithoutBound => unread_output_stops_the_command: "nobody read them",
    EventLostOnDrop => no_event_is_lost_by_dropping_a_wait: "bytes instead of",

    TerminalIgnored => terminal_is_one_inside_and_has_its_size: "not all on one stream",
    SizeIgnored => terminal_is_one_inside_and_has_its_size: "24 80",
    ResizeLost => resize_is_seen_inside: "next event: nothing happened",
    InterruptIsData => interrupt_byte_is_a_signal_for_the_foreground: "next event: nothing happened",
    EndOfFileIsData => end_of_file_byte_ends_the_input: "next event: nothing happened",
    ShutdownTypesNothing => shutting_the_keyboard_down_ends_the_input: "next event: nothing happened",
    EndOfFileTypedOnce => shutting_the_keyboard_down_ends_the_input: "next event: nothing happened",
    NoHangUp => terminal_is_hung_up_with_its_stream: "hang-up: nothing happened",
    EndOfTerminalLost => everything_a_terminal_showed_comes_before_the_exit: "bytes instead of",
    CommitForgotten => written_file_is_read_back: "no such file",
    ModeLost => replaced_file_keeps_its_mode: "\"644\" instead of \"700\"",
    DroppedWriteCommits => dropped_write_leaves_the_old_file: "content: []",
    EndOfAWriteUnheard => idle_write_hears_of_the_end: "hearing of it: nothing happened",
    AnnouncedSizeIgnored => write_of_another_size_is_refused: "another size is answered with Ok",
    NoFileIsUntyped => paths_that_lead_to_no_file_are_typed_errors: "answered with Err(Io",
    FileByteChanged => large_file_is_intact_both_ways: "bytes came back",
    UnpackForgotten => directory_comes_back_as_it_was: "no such file",
    MountedFileWritable => mounted_files_are_there_first_and_cannot_be_written: "answered with Ok",
    MountedFilesForgotten => mounted_files_are_there_first_and_cannot_be_written: "no such file",
    FilesAfterTheEndAreUntyped => files_after_the_end_are_refused: "after the end: Err(Unavailable",

    ExitCodeLost => exit_code_of_the_main_command_is_reported: "(MainExited, None)",
    SignalReportedAsCode => signal_of_the_main_command_is_reported: "Some(Code(137))",
    EndedNotRepeated => report_is_repeated_until_destroy: "ended: ",
    ReportLostByReconnect => report_is_repeated_until_destroy: "ended: ",
    WaiterForgotten => waiting_ends_with_destroy: "a wait during a destroy: nothing happened",
    InitDeathUnnoticed => killed_init_is_reported: "ended: nothing happened",

    GraceIgnored => stop_lets_a_handler_finish: "(Stopped, Some(Signal(9)))",
    NoEscalation => stop_escalates_after_the_grace: "ended: nothing happened",
    EscalatesEarly => stop_escalates_after_the_grace: "killed after",
    ZeroGraceAsks => stop_without_grace_kills_at_once: "ended: nothing happened",
    NobodyIsAsked => stop_asks_execs_too: "next event: nothing happened",
    OwnSignalIgnored => main_command_is_ended_by_its_own_signal: "Signal(15)",
    IdleWaitsOutTheGrace => stop_of_an_idle_sandbox_does_not_wait: "ended: nothing happened",
    SecondStopIgnored => second_stop_shortens_the_grace: "ended: nothing happened",
    StopRewritesTheReport => stop_after_the_end_changes_nothing: "cause: Stopped",
    PhaseStaysRunning => phase_tells_that_the_end_has_begun: "during the grace: nothing happened",

    DestroyTwiceFails => second_destroy_finds_it_gone: "does not exist",
    DestroyLeavesSomething => second_destroy_finds_it_gone: "left behind",
    ReceiptNamesSomethingLeft => second_destroy_finds_it_gone: "destroy left",
    ConcurrentDestroyFails => concurrent_destroys_agree: "destroy: ",
    ExecsHangAfterDestroy => destroy_ends_running_execs: "exec after destroy: nothing happened",
    DestroyWaitsForTheEnd => destroy_does_not_wait_for_a_grace: "destroy: nothing happened",
    DestroyLosesTheReport => destroy_hands_over_the_report: "report: None",
    ShutdownKeepsSandboxes => shutdown_leaves_nothing: "there after a shutdown",

    ReconnectForgets => running_sandbox_is_adopted: "phase: None",
    EndMissedWithoutDaemon => end_without_a_daemon_is_reported: "ended: ",
    DeadlineHeldByDaemon => deadline_survives_a_reconnect: "ended: nothing happened",
    DeadlineIgnored => deadline_fires_unwatched: "deadline fires: nothing happened",
    DeadlineNeedsAWaiter => deadline_fires_unwatched: "deadline fires: nothing happened",
    DeadlineEarly => deadline_does_not_fire_early: "it lived",

    OwnerIgnored => owners_death_ends_it_after_the_grace: "ended: nothing happened",
    OwnerGraceIgnored => owners_death_ends_it_after_the_grace: "it outlived its owner by",
    OwnerTakenForDead => living_owner_keeps_it: "phase: Some(Ended)",
    StartTimeOfOwnerIgnored => dead_owner_is_not_taken_for_alive: "ended: nothing happened",

    ForkedChildTakenForOwner => forked_child_is_not_taken_for_the_owner: "ended: nothing happened",
    AnotherOwnerIgnored => another_owner_ends_the_grace: "long after its first owner: Some(Ended)",
    SwitchStaysOn => switched_off_it_outlives_its_owner: "long after its owner: Some(Ended)",
    GuardAfterTheEndAccepted => guard_comes_too_late_for_the_end: "answered with Ok",

    AttentionUnnoticed => attended_to_it_lives: "phase: Some(Ended)",
    DaemonMayGo => unattended_it_ends_after_the_grace: "ended: nothing happened",
    DaemonGraceIgnored => unattended_it_ends_after_the_grace: "it lived on for",
    AttentionNotTakenUp => attended_to_again_it_lives_on: "guarded again: Some(Ended)",
    ResumedCreateInattentive => attended_to_again_it_lives_on: "created again: Some(Ended)",

    PauseDoesNothing => paused_commands_wait_and_go_on: "phase after a pause: Some(Running)",
    PauseInNameOnly => paused_commands_wait_and_go_on: "a paused command goes on",
    ResumeDoesNothing => paused_commands_wait_and_go_on: "phase after a resume: Some(Paused)",
    ExecResumes => nothing_is_started_in_a_paused_sandbox: "was not refused",
    PausedIsNotRunning => nothing_is_started_in_a_paused_sandbox: "exec while paused: NotRunning",
    NewDaemonThaws => pause_outlives_the_daemon: "phase: Some(Running)",
    PauseAfterTheEndAccepted => pause_comes_too_late_for_the_end: "answered with Ok",
    PauseStopsTheClock => deadline_fires_while_paused: "ended: nothing happened",
    PauseForgetsTheOwner => owners_death_ends_a_paused_sandbox: "ended: nothing happened",
    PausedStopKills => stop_resumes_what_is_paused: "Signal(9)",
    PausedStopWaits => stop_without_grace_kills_what_is_paused: "ended: nothing happened",
    PausedDestroyFails => destroy_ends_a_paused_sandbox: "it is paused",

    EndedProcessesLiveOn => sandbox_is_kept_without_its_processes: "is alive",
    EndedProcessesEndTheSandbox => sandbox_is_kept_without_its_processes: "phase: Some(Ended)",
    WantOfMemoryUntold => want_of_memory_is_told: "MainExited",
    EveryKillIsWantOfMemory => want_of_memory_is_told: "cause of another kill: OutOfMemory",
    EmptyReceipt => receipt_tells_what_was_released_and_how: "the receipt is",

    GoneStopIsUntyped => clean_up_comes_to_its_outcome_whatever_it_finds: "never was: \"the sandbox runtime",
    PauseAgainThaws => what_a_clean_up_preserves_is_there_until_another_ends_it: "phase of one kept paused",

    ExecOutputInTheLog => log_has_both_streams_of_the_main_command_and_no_others: "10, 115, 116, 97, 114, 116, 101, 100, 10]",
    LogStreamsMixed => log_has_both_streams_of_the_main_command_and_no_others: "stdout: [111, 117, 116, 10, 101",
    LogTimesLost => log_has_both_streams_of_the_main_command_and_no_others: "times: ",
    LogRecordLost => large_log_is_intact: "mark: ",
    NoLogIsAnError => log_of_no_main_command_is_empty: "does not exist",
    LogReaderNotWoken => log_reader_is_woken: "waiting for more of a log: nothing happened",
    LogReadersShareAPlace => log_is_read_by_several_at_their_own_pace: "nothing happened",
    LogKeptByDaemon => log_goes_on_without_a_daemon: "log: \"\"",
    DestroyTakesTheLog => log_is_kept_until_it_is_forgotten: "log after the destroy",
    ForgetKeepsTheLog => log_is_kept_until_it_is_forgotten: "log after it was forgotten",
    SeekIgnored => seek_finds_any_place_of_a_log: "seek by ",
}

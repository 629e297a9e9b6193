//! The life of a sandbox as one function.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where a sandbox is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Accepted and recorded; nothing is made yet.
    Pending,
    /// Being made.
    Creating,
    /// Commands can be run in it.
    Running,
    /// Frozen; nothing in it runs.
    Paused,
    /// Being taken apart.
    Terminating,
    /// Ended after it had run; every resource is released.
    Completed,
    /// Never ran, or its exit code cannot be known; every resource is released.
    Failed,
}

/// What happens to a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Its turn to be made has come.
    Claimed,
    /// Its init runs and has taken the request.
    Started,
    /// Its processes were frozen.
    Paused,
    /// Its processes were thawed.
    Resumed,
    /// Something ends it: a request, a deadline, its main command, a fault.
    Ending,
    /// The last resource is released and it had run.
    Released,
    /// The last resource is released and it never ran, or how it ended cannot be known.
    ReleasedUnknown,
}

/// An event that cannot happen in this state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a sandbox that is {state} cannot be {event:?}")]
pub struct InvalidTransition {
    /// The state it is in.
    pub state: State,
    /// What was to happen.
    pub event: Event,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Creating,
        Self::Running,
        Self::Paused,
        Self::Terminating,
        Self::Completed,
        Self::Failed,
    ];

    /// The state after `event`.
    ///
    /// # Errors
    /// When the event cannot happen in this state; a terminal state accepts none.
    pub fn after(self, event: Event) -> Result<Self, InvalidTransition> {
        use State::{Completed, Creating, Failed, Paused, Pending, Running, Terminating};
        match (self, event) {
            (Pending, Event::Claimed) => Ok(Creating),
            (Creating, Event::Started) | (Paused, Event::Resumed) => Ok(Running),
            (Running, Event::Paused) => Ok(Paused),
            (Pending | Creating | Running | Paused, Event::Ending) => Ok(Terminating),
            (Terminating, Event::Released) => Ok(Completed),
            (Terminating, Event::ReleasedUnknown) => Ok(Failed),
            (state, event) => Err(InvalidTransition { state, event }),
        }
    }

    /// Whether nothing can happen to it any more.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }

    /// Whether it is made and not ending: its init is there, whether what is in it runs, is frozen or is only kept.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    /// The stable text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Terminating => "terminating",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const EVENTS: [Event; 7] = [
        Event::Claimed,
        Event::Started,
        Event::Paused,
        Event::Resumed,
        Event::Ending,
        Event::Released,
        Event::ReleasedUnknown,
    ];

    proptest! {
        #[test]
        fn no_terminal_state_is_ever_left(events in prop::collection::vec(select(EVENTS.to_vec()), 0..40)) {
            let mut state = State::Pending;
            let mut ended = None;
            for event in events {
                if let Ok(next) = state.after(event) {
                    prop_assert_eq!(ended, None, "left {} by {:?}", state, event);
                    state = next;
                }
                if state.is_terminal() && ended.is_none() {
                    ended = Some(state);
                }
            }
            if let Some(ended) = ended {
                prop_assert_eq!(state, ended);
            }
        }
    }

    #[test]
    fn a_terminal_state_is_reached_only_through_terminating() {
        for state in State::ALL {
            for event in EVENTS {
                if let Ok(next) = state.after(event) {
                    assert!(!next.is_terminal() || state == State::Terminating);
                }
            }
        }
    }

    #[test]
    fn every_state_that_is_not_terminal_can_be_ended() {
        for state in State::ALL {
            let ends = state.after(Event::Ending).is_ok() || state == State::Terminating;
            assert_eq!(ends, !state.is_terminal(), "{state}");
        }
    }
}

//! What must hold of a sandbox, as a listing shows it, by what is known of it.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::Value;

use super::model::{Case, Model};
use super::owners::Owner;

/// How long after its time something that goes by a clock may still be there, on a busy machine.
const LATE: i64 = 15;

/// What is wrong with a sandbox.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// It is there and should not be, or is in a state that it should not be in.
    Leak(String),
    /// It has ended, for no reason that there was, and is nobody's who lives.
    Ended(String),
    /// It is not there and should be.
    Lost(String),
}

impl Model {
    /// What is wrong with a sandbox as a listing shows it, at this time (seconds of the epoch).
    pub(crate) fn wrong_with(&self, case: &Case, sandbox: &Value, now: i64) -> Option<Wrong> {
        if sandbox["end"].is_object() {
            return self.wrong_end(case, sandbox);
        }
        let leak = |what: &str| Some(Wrong::Leak(format!("{what}: {sandbox}")));
        let past = |time: &Value| seconds(time).is_some_and(|time| time + LATE < now);
        let state = sandbox["state"].as_str().unwrap_or_default();
        let kind = sandbox["ownership"]["kind"].as_str().unwrap_or_default();
        let somebody = case.owners.iter().any(|owner| self.is_alive(*owner));
        // Its main command was killed, and its files are kept: it counts as completed, and is still there.
        let files = sandbox["main_end"].is_object();
        if files && !case.keeps_files() {
            return leak("its files are kept, for no reason that there was");
        }
        if past(&sandbox["expires_at"]) {
            return leak("it outlives its lifetime");
        }
        match kind {
            "owned" => {
                let pid = sandbox["ownership"]["holder"]["pid"].as_u64();
                let holds = |key: &u64| {
                    let owner = self.owners.get(key);
                    owner
                        .is_some_and(|owner| owner.alive && pid.is_none_or(|pid| pid == u64::from(owner.pid)))
                };
                if !case.owners.iter().any(holds) {
                    return leak("whoever owns it is dead, or not known to have it");
                }
            }
            "kept" => {
                let spared = case.policy.spares_orphan(case.adopted) && case.may_end.contains("owner_gone");
                if !spared && !files && !case.policy.spares_idle() {
                    return leak("it is kept, for no reason that there was");
                }
                if past(&sandbox["ownership"]["until"]) {
                    return leak("it is kept for too long");
                }
            }
            "detached" if case.detached => {}
            "orphaned" if somebody => return leak("it is an orphan, and its owner lives"),
            _ => return leak("nobody stands for it"),
        }
        match state {
            "running" if !files => {}
            "completed" if files => {}
            "paused" if case.paused || kind == "kept" => {}
            "paused" => return leak("it is paused, and nobody has asked for that"),
            _ => return leak("neither here nor there"),
        }
        let idle =
            case.policy.idle.filter(|_| state == "running" && kind != "kept" && sandbox["active"] == 0);
        let since = seconds(&sandbox["last_active_at"]).zip(idle);
        if since.is_some_and(|(since, (length, _))| since + length.as_secs().cast_signed() + LATE < now) {
            return leak("it has been idle for too long");
        }
        None
    }

    fn wrong_end(&self, case: &Case, sandbox: &Value) -> Option<Wrong> {
        let reason = sandbox["reason"].as_str().unwrap_or_default();
        let is =
            |end: &str| reason == end || reason.strip_prefix(end).is_some_and(|rest| rest.starts_with(':'));
        let is_run = case.owners.iter().filter_map(|owner| self.owners.get(owner)).any(Owner::is_run);
        let was_given = case.may_end.iter().any(|end| is(end))
            || (is("init_killed") && self.may_have_lost_its_init(case))
            // Nobody has ever been told of it; nor has anybody of an `ebb run` that has ended itself.
            || (case.id.is_none() && is("create_failed"))
            || (is_run && !reason.is_empty());
        // An `ebb run` may have had enough before we ended it.
        if was_given && !(!is_run && is_early(case, sandbox) && (is("owner_gone") || is("keep_expired"))) {
            return None;
        }
        let lives = case.detached || case.owners.iter().any(|owner| self.is_alive(*owner));
        let words =
            if lives { "it is somebody's who lives" } else { "it ended for no reason that there was" };
        let text = format!("{words} (it may have ended by {:?}): {sandbox}", case.may_end);
        Some(if lives { Wrong::Lost(text) } else { Wrong::Ended(text) })
    }
}

/// Whether it has ended before its owner had been dead for as long as it was to live on.
fn is_early(case: &Case, sandbox: &Value) -> bool {
    // Where there is only one end of an owner that it can have had.
    let sure = !case.elsewhere && !case.adopted && !case.detached && !case.policy.spares_idle();
    let Some((_, died)) = case.died.filter(|_| sure) else { return false };
    let kept =
        if case.ran && case.policy.spares_orphan(false) { case.policy.keep_for() } else { Duration::ZERO };
    let died = died.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed();
    let due = died + (case.grace() + kept).as_secs().cast_signed();
    // Whole seconds, each of which may be cut off.
    seconds(&sandbox["ended_at"]).is_some_and(|ended| ended + 1 < due)
}

/// A time of a listing, as seconds of the epoch.
fn seconds(time: &Value) -> Option<i64> {
    Some(time.as_str()?.parse::<Timestamp>().ok()?.as_second())
}

#[cfg(test)]
mod tests {
    use ebbtide::{Keep, OnIdle};
    use rustix::process::Signal;
    use serde_json::json;

    use super::super::owners::Owner;
    use super::super::policy::Policy;
    use super::*;

    const NOW: i64 = 1_000_000;

    fn at(seconds: i64) -> String {
        Timestamp::from_second(seconds).expect("a time").to_string()
    }

    /// What is said of a sandbox with this policy, of an owner that lives or is dead.
    fn said(policy: Policy, alive: bool, change: impl FnOnce(&mut Case, &mut Value)) -> Option<Wrong> {
        let mut model = Model::default();
        let key = model.owner(Owner::plain());
        let mut case = Case::new(1, policy, Some(key));
        case.id = Some("sandbox".to_owned());
        let pid = model.owners.get(&key).expect("an owner").pid;
        let mut sandbox = json!({"state": "running", "expires_at": at(NOW + 100), "active": 0,
            "ownership": {"kind": "owned", "holder": {"pid": pid}}});
        if !alive {
            model.cases.push(case);
            model.end(key, Signal::KILL);
            case = model.cases.remove(0);
        }
        change(&mut case, &mut sandbox);
        let wrong = model.wrong_with(&case, &sandbox, NOW);
        model.owners.into_values().for_each(Owner::reap);
        wrong
    }

    fn ended(reason: &'static str) -> impl FnOnce(&mut Case, &mut Value) {
        move |_, sandbox| end(sandbox, reason, i64::from(u32::MAX))
    }

    fn end(sandbox: &mut Value, reason: &str, when: i64) {
        (sandbox["end"], sandbox["reason"], sandbox["ended_at"]) =
            (json!({}), reason.into(), at(when).into());
    }

    fn kept(keep: Keep) -> Policy {
        let keep = Some((keep, Duration::from_secs(3), ebbtide::KeepAs::Paused));
        Policy { keep, ..Policy::default() }
    }

    #[test]
    fn a_sandbox_of_a_living_owner_that_has_ended_for_no_reason_is_lost() {
        assert!(said(Policy::default(), true, |_, _| {}).is_none());
        for reason in ["owner_gone", "main_exited", "daemon_gone", "stopped", "owner_gone_for_good"] {
            assert!(matches!(said(Policy::default(), true, ended(reason)), Some(Wrong::Lost(_))), "{reason}");
        }
        let stop = |case: &mut Case, sandbox: &mut Value| {
            case.may_end.insert("stopped");
            ended("stopped: by somebody")(case, sandbox);
        };
        assert!(said(Policy::default(), true, stop).is_none());
    }

    #[test]
    fn a_sandbox_whose_owner_is_dead_goes_and_is_kept_only_if_it_is_to_be() {
        let is = |kind: &'static str| {
            move |_: &mut Case, sandbox: &mut Value| sandbox["ownership"]["kind"] = kind.into()
        };
        assert!(said(Policy::default(), false, |_, _| {}).is_some());
        assert!(said(Policy::default(), false, is("orphaned")).is_some());
        assert!(said(Policy::default(), false, is("unowned")).is_some());
        assert!(said(Policy::default(), false, is("detached")).is_some());
        assert!(said(Policy::default(), false, ended("owner_gone")).is_none());
        assert!(said(Policy::default(), false, ended("stopped")).is_some());
        for (keep, spared) in
            [(Keep::Never, false), (Keep::Always, true), (Keep::OnFailure, true), (Keep::Attached, false)]
        {
            assert_eq!(said(kept(keep), false, is("kept")).is_none(), spared, "{keep}");
            assert!(said(kept(keep), true, is("kept")).is_some(), "{keep}");
        }
    }

    #[test]
    fn a_main_command_that_was_killed_leaves_its_files_where_they_are_to_be_kept() {
        let killed = |kind: &'static str, was_killed: bool| {
            move |case: &mut Case, sandbox: &mut Value| {
                if was_killed {
                    case.may_end.insert("main_exited");
                }
                sandbox["ownership"]["kind"] = kind.into();
                (sandbox["state"], sandbox["main_end"]) = ("completed".into(), json!({"exit_code": 137}));
            }
        };
        for kind in ["kept", "owned"] {
            assert!(said(kept(Keep::OnFailure), true, killed(kind, true)).is_none(), "{kind}");
            assert!(said(kept(Keep::OnFailure), true, killed(kind, false)).is_some(), "{kind}");
            assert!(said(kept(Keep::Never), true, killed(kind, true)).is_some(), "{kind}");
        }
        assert!(said(kept(Keep::Always), false, killed("owned", true)).is_some());
        let running = |case: &mut Case, sandbox: &mut Value| {
            killed("owned", true)(case, sandbox);
            sandbox["state"] = "running".into();
        };
        assert!(said(kept(Keep::Always), true, running).is_some());
    }

    #[test]
    fn what_is_to_be_kept_is_not_ended_with_the_grace_of_its_owner() {
        let early = |case: &mut Case, sandbox: &mut Value| {
            let (_, died) = case.died.expect("its owner is dead");
            let died = died.duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs().cast_signed();
            end(sandbox, "owner_gone", died + 2);
        };
        assert!(said(kept(Keep::Never), false, early).is_none());
        assert!(said(kept(Keep::Always), false, early).is_some());
        assert!(said(kept(Keep::Always), false, ended("keep_expired")).is_none());
    }

    #[test]
    fn what_goes_by_a_clock_is_not_there_for_long_after_its_time() {
        let expired = |_: &mut Case, sandbox: &mut Value| sandbox["expires_at"] = at(NOW - LATE - 1).into();
        assert!(said(Policy::default(), true, expired).is_some());
        let idle = Policy { idle: Some((Duration::from_secs(2), OnIdle::Stop)), ..Policy::default() };
        let unused =
            |_: &mut Case, sandbox: &mut Value| sandbox["last_active_at"] = at(NOW - LATE - 3).into();
        assert!(
            said(idle.clone(), true, unused).is_some() && said(Policy::default(), true, unused).is_none()
        );
        assert!(said(idle, true, ended("idle")).is_none());
        let stale = |_: &mut Case, sandbox: &mut Value| {
            sandbox["ownership"] = json!({"kind": "kept", "until": at(NOW - LATE - 1)});
        };
        assert!(said(kept(Keep::Always), false, stale).is_some());
    }

    #[test]
    fn a_state_that_nobody_asked_for_is_wrong() {
        let is =
            |state: &'static str| move |_: &mut Case, sandbox: &mut Value| sandbox["state"] = state.into();
        for state in ["pending", "creating", "terminating", "paused"] {
            assert!(said(Policy::default(), true, is(state)).is_some(), "{state}");
        }
        let asked = |case: &mut Case, sandbox: &mut Value| {
            case.paused = true;
            sandbox["state"] = "paused".into();
        };
        assert!(said(Policy::default(), true, asked).is_none());
        let orphan = |_: &mut Case, sandbox: &mut Value| sandbox["ownership"]["kind"] = "orphaned".into();
        assert!(said(Policy::default(), true, orphan).is_some());
        let other = |_: &mut Case, sandbox: &mut Value| sandbox["ownership"]["holder"]["pid"] = 1.into();
        assert!(said(Policy::default(), true, other).is_some());
    }
}

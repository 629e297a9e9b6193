//! Whether a process that is to own a sandbox is the caller's to name.

use std::{fs, io};

use ebbtide_control::ControlError;
use ebbtide_driver::DriverError;
use ebbtide_model::{Invalid, OWNER_PID_ANNOTATION, OWNER_START_TIME_ANNOTATION, OwnerProcess, ProcessStat};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Checks that `owner` is alive, is the process that was meant, and belongs to user `uid`.
///
/// # Errors
/// The annotation that is wrong; or that it cannot be found out, for want of descriptors, say.
pub(crate) fn check(owner: OwnerProcess, uid: u32) -> Result<(), ControlError> {
    let refused = |annotation: &str, problem: &str, accepted: &str| {
        Err(Invalid::new(format!("annotations[{annotation}]"), problem, accepted).into())
    };
    let read = |file: &str| {
        let path = format!("/proc/{}/{file}", owner.pid);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if is_of_the_dead(&error) => Ok(None),
            Err(error) => {
                Err(ControlError::Driver(DriverError::NoRoom { what: format!("read {path}: {error}") }))
            }
        }
    };
    // The user first: should another process take the number in between, then the start time tells.
    let (status, stat) = (read("status")?, read("stat")?);
    let (Some(owner_uid), Some(stat)) =
        (status.as_deref().and_then(real_uid), stat.as_deref().and_then(ProcessStat::parse))
    else {
        return refused(
            OWNER_PID_ANNOTATION,
            &format!("{} is no process that runs here", owner.pid),
            "the id of a running process",
        );
    };
    if stat.start_time != owner.start_time {
        return refused(
            OWNER_START_TIME_ANNOTATION,
            &format!("is not when process {} started", owner.pid),
            "field 22 of /proc/PID/stat",
        );
    }
    if owner_uid != uid {
        return refused(
            OWNER_PID_ANNOTATION,
            &format!("{} is a process of another user", owner.pid),
            "a process of your own",
        );
    }
    Ok(())
}

/// Whether a file of a process cannot be read because that has ended.
fn is_of_the_dead(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// The process `pid`, which user `uid` is; `None` where it has ended, or is another's by now.
pub(crate) fn identify(pid: i32, uid: u32) -> Option<OwnerProcess> {
    let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let (owner, stat) = (effective_uid(&read("status")?)?, ProcessStat::parse(&read("stat")?)?);
    // Alive after both were read, so they were of the process that the descriptor is of.
    let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&Timespec::default())).ok()? > 0;
    let process = OwnerProcess { pid: u32::try_from(pid).ok()?, start_time: stat.start_time };
    (!ended && owner == uid).then_some(process)
}

fn effective_uid(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(1)?.parse().ok()
}

fn real_uid(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn myself() -> OwnerProcess {
        let pid = std::process::id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        OwnerProcess { pid, start_time: ProcessStat::parse(&stat).unwrap().start_time }
    }

    fn my_uid() -> u32 {
        rustix::process::getuid().as_raw()
    }

    #[test]
    fn ones_own_process_is_accepted() {
        check(myself(), my_uid()).unwrap();
    }

    #[test]
    fn a_peer_is_identified_while_it_lives_and_as_its_own_user() {
        let me = std::process::id() as i32;
        assert_eq!(identify(me, my_uid()), Some(myself()));
        assert_eq!(identify(me, my_uid() + 1), None);
        assert_eq!(identify(i32::MAX, my_uid()), None);
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        let pid = ended.id() as i32;
        ended.wait().unwrap();
        assert_eq!(identify(pid, my_uid()), None);
    }

    #[test]
    fn each_lie_is_refused_by_the_annotation_it_is_in() {
        let field = |owner, uid| match check(owner, uid) {
            Err(ControlError::Invalid(invalid)) => invalid.field,
            other => panic!("{other:?}"),
        };
        let me = myself();
        let (pid, start) =
            ("annotations[ebbtide.dev/owner-pid]", "annotations[ebbtide.dev/owner-start-time]");
        assert_eq!(field(OwnerProcess { pid: i32::MAX as u32, ..me }, my_uid()), pid);
        assert_eq!(field(OwnerProcess { start_time: me.start_time + 1, ..me }, my_uid()), start);
        assert_eq!(field(me, my_uid() + 1), pid);
    }
}

//! Who commands run as: `user[:group]`, names or numbers, by the sandbox's own `/etc/passwd` and `/etc/group`.
//!
//! The rules are those of other container runtimes. Both files come from whoever made the image: they are read only if
//! they are regular files, and no further than a bound.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Gid, Mode, OFlags, ResolveFlags, Uid, fchown, fstat, openat2};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::streams::Inside;
use crate::ids::RANGE;

/// As much as is read of a file.
const MOST_BYTES: u64 = 1 << 20;
/// As many groups as are kept; the kernel takes more, and no image has them.
const MOST_GROUPS: usize = 1024;

/// Who commands run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// The home directory, unless the environment names one.
    pub(super) home: String,
}

impl Identity {
    /// The sandbox's root.
    pub(super) fn root() -> Self {
        Self { uid: 0, gid: 0, groups: Vec::new(), home: "/root".to_owned() }
    }

    /// Looks a user up; `None` if there is no such user or group.
    pub(super) fn find(user: &str) -> Option<Self> {
        resolve(user, &read("/etc/passwd"), &read("/etc/group"))
    }

    /// Gives a command's streams to its user, who could not open them again by `/dev/stdout` otherwise.
    pub(super) fn own(&self, streams: &Inside) {
        if self.uid == 0 && self.gid == 0 {
            return;
        }
        // A terminal's group stays the one that may write to it.
        let group = (!streams.terminal).then_some(Gid::from_raw(self.gid));
        for stream in [&streams.stdin, &streams.stdout, &streams.stderr] {
            let is_device = fstat(stream)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice);
            if streams.terminal || !is_device {
                let _ = fchown(stream.as_fd(), Some(Uid::from_raw(self.uid)), group);
            }
        }
    }

    /// Becomes this user, for good, with no capabilities unless it is root. Needs CAP_SETUID and CAP_SETGID.
    pub(super) fn assume(&self) -> rustix::io::Result<()> {
        if *self == Self::root() {
            return Ok(());
        }
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)
    }
}

/// What a file of the image holds, as far as it is to be had.
fn read(path: &str) -> String {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let open = openat2(rustix::fs::CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    let is_regular = |file: &OwnedFd| {
        fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    };
    let mut bytes = Vec::new();
    if let Some(file) = open.ok().filter(is_regular) {
        let _ = File::from(file).take(MOST_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(User { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    })
}

fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Group { name, gid, members: fields.next().unwrap_or_default() })
    })
}

fn resolve(user: &str, passwd: &str, group: &str) -> Option<Identity> {
    let (user, wanted_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    // No other id has a place in the sandbox.
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number < RANGE);
    let user = if user.is_empty() { "0" } else { user };
    let found = users(passwd).find(|entry| match number(user) {
        Some(uid) => entry.uid == uid,
        None => entry.name == user,
    });
    let mut identity = match &found {
        Some(User { uid, gid, home, .. }) => {
            let home = if home.is_empty() { "/" } else { home };
            Identity { uid: *uid, gid: *gid, groups: Vec::new(), home: home.to_owned() }
        }
        None if user == "root" || user == "0" => Identity::root(),
        None => Identity { uid: number(user)?, gid: 0, groups: Vec::new(), home: "/".to_owned() },
    };
    match (wanted_group, found) {
        (Some(wanted), _) => {
            let named = groups(group).find(|entry| entry.name == wanted).map(|entry| entry.gid);
            identity.gid = number(wanted).or(named)?;
        }
        (None, Some(user)) => {
            let is_member = |entry: &Group<'_>| entry.members.split(',').any(|member| member == user.name);
            identity.groups =
                groups(group).filter(is_member).map(|entry| entry.gid).take(MOST_GROUPS).collect();
        }
        (None, None) => {}
    }
    let inside = [identity.uid, identity.gid].iter().chain(&identity.groups).all(|id| *id < RANGE);
    inside.then_some(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:9:9::/:\nweb:x:33:34:www:/var/www:/bin/sh\n\
                          bare:x:50:51\nfar:x:70000:1::/:\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlog:x:4:other,web\nmail:x:8:web\nhuge:x:99999:\nbroken\n";

    fn identity(user: &str) -> Option<(u32, u32, Vec<u32>, String)> {
        let identity = resolve(user, PASSWD, GROUP)?;
        Some((identity.uid, identity.gid, identity.groups, identity.home))
    }

    #[test]
    fn names_and_numbers_are_looked_up_with_the_groups_and_the_home_of_the_user() {
        let web = |gid, groups: &[u32]| Some((33, gid, groups.to_vec(), "/var/www".to_owned()));
        assert_eq!(identity("web"), web(34, &[4, 8]));
        assert_eq!(identity("33"), web(34, &[4, 8]));
        assert_eq!(identity("web:"), web(34, &[4, 8]));
        assert_eq!(identity("web:mail"), web(8, &[]));
        assert_eq!(identity("33:1234"), web(1234, &[]));
        assert_eq!(identity("bare"), Some((50, 51, vec![], "/".to_owned())));
        assert_eq!(identity("1000"), Some((1000, 0, vec![], "/".to_owned())));
        assert_eq!(identity("1000:log"), Some((1000, 4, vec![], "/".to_owned())));
        assert_eq!(identity(":log"), Some((0, 4, vec![], "/root".to_owned())));
        for root in ["root", "0", "0:0", ""] {
            assert_eq!(resolve(root, PASSWD, GROUP), Some(Identity::root()), "{root:?}");
            assert_eq!(resolve(root, "", ""), Some(Identity::root()), "{root:?} of an image without users");
        }
    }

    #[test]
    fn who_is_not_there_or_has_no_id_in_the_sandbox_is_nobody() {
        for user in
            ["nosuch", "web:nosuch", "70000", "far", "4294967295", "-1", "1000:70000", "web:huge", "a b"]
        {
            assert_eq!(identity(user), None, "{user}");
        }
    }
}

//! What the daemon tells its launcher on the command line: paths and sizes, nothing of any request.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::root::RootBuilder;

#[derive(Debug, Clone)]
pub(crate) struct Arguments {
    pub(crate) home_id: String,
    pub(crate) state_dir: PathBuf,
    pub(crate) run_dir: PathBuf,
    pub(crate) ids_dir: PathBuf,
    pub(crate) pool_slots: usize,
    pub(crate) disk_pool_bytes: u64,
    /// `None`: by probe.
    pub(crate) root_builder: Option<RootBuilder>,
}

impl Arguments {
    /// The file of the disk pool.
    pub(crate) fn disk_pool(&self) -> PathBuf {
        self.state_dir.join("pool.btrfs")
    }

    /// The command line, after the name of the role.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let path = |path: &Path| path.as_os_str().to_owned();
        let builder = match self.root_builder {
            None => "probe",
            Some(RootBuilder::ByDescriptor) => "by-descriptor",
            Some(RootBuilder::Attached) => "attached",
        };
        vec![
            self.home_id.clone().into(),
            path(&self.state_dir),
            path(&self.run_dir),
            path(&self.ids_dir),
            self.pool_slots.to_string().into(),
            self.disk_pool_bytes.to_string().into(),
            builder.into(),
        ]
    }

    pub(crate) fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut next = |name: &str| args.next().ok_or(format!("{name} is missing"));
        let number = |text: OsString, name: &str| {
            text.to_str().and_then(|text| text.parse::<u64>().ok()).ok_or(format!("{name} is no number"))
        };
        let home_id = next("home id")?.into_string().map_err(|_| "the home id is no text")?;
        if home_id.is_empty() || !home_id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err("the home id is malformed".to_owned());
        }
        Ok(Self {
            home_id,
            state_dir: next("state directory")?.into(),
            run_dir: next("run directory")?.into(),
            ids_dir: next("ids directory")?.into(),
            pool_slots: number(next("pool slots")?, "pool slots")?.min(64) as usize,
            disk_pool_bytes: number(next("disk pool bytes")?, "disk pool bytes")?,
            root_builder: match next("root builder")?.to_str() {
                Some("probe") => None,
                Some("by-descriptor") => Some(RootBuilder::ByDescriptor),
                Some("attached") => Some(RootBuilder::Attached),
                _ => return Err("the root builder is unknown".to_owned()),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_survive_the_command_line() {
        for root_builder in [None, Some(RootBuilder::ByDescriptor), Some(RootBuilder::Attached)] {
            let arguments = Arguments {
                home_id: "abcd2345".into(),
                state_dir: "/a b".into(),
                run_dir: "/r".into(),
                ids_dir: "/i".into(),
                pool_slots: 3,
                disk_pool_bytes: 1 << 33,
                root_builder,
            };
            let parsed = Arguments::parse(arguments.to_args().into_iter()).unwrap();
            assert_eq!(format!("{arguments:?}"), format!("{parsed:?}"));
        }
        assert!(Arguments::parse(std::iter::empty()).is_err());
    }
}

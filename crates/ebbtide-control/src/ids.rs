//! The ids of new sandboxes, which sort by age whatever the wall clock was set to: a listing is in their order.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use ebbtide_model::SandboxId;

use crate::store::{from_millis, millis};

/// Gives new ids. Each is of a later millisecond than every one before it, if need be of one that is still to come.
pub(crate) struct Ids {
    newest: Mutex<i64>,
}

impl Ids {
    /// Those after `newest`.
    pub(crate) fn after(newest: Option<&SandboxId>) -> Self {
        let newest = newest.map_or(0, |id| i64::try_from(id.created_ms()).unwrap_or(0));
        Self { newest: Mutex::new(newest) }
    }

    /// The next one.
    pub(crate) fn next(&self, now: SystemTime) -> SandboxId {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = millis(now).max(*newest + 1);
        SandboxId::generate_at(from_millis(*newest))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_id_is_after_the_one_before() {
        let now = SystemTime::now();
        let ids = Ids::after(None);
        let times = [now, now, now - Duration::from_secs(3600), now + Duration::from_secs(1), now];
        let made: Vec<_> = times.into_iter().map(|now| ids.next(now)).collect();
        assert!(made.is_sorted_by(|one, next| one < next), "{made:?}");
        assert!(Ids::after(made.last()).next(now - Duration::from_secs(3600)) > made[4]);
    }
}

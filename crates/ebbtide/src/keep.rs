//! Keeping sandboxes for a look at them, as the environment says.

use ebbtide_model::{Invalid, Keep};

/// The variable that says when a clean-up spares sandboxes.
pub(crate) const VARIABLE: &str = "EBBTIDE_KEEP_SANDBOX";

/// When a clean-up spares sandboxes, as `EBBTIDE_KEEP_SANDBOX` says: `true` or `1` for always, `false` or `0` for never, or
/// one of the words of [`Keep`]. `None` if it is not set.
///
/// ```
/// assert_eq!(ebbtide::keep_from_env()?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When it is something else.
pub fn from_env() -> Result<Option<Keep>, Invalid> {
    match std::env::var_os(VARIABLE) {
        Some(text) => parse(&text.to_string_lossy()),
        None => Ok(None),
    }
}

fn parse(text: &str) -> Result<Option<Keep>, Invalid> {
    match text {
        "" => Ok(None),
        "1" | "true" => Ok(Some(Keep::Always)),
        "0" | "false" => Ok(Some(Keep::Never)),
        word => word.parse().map(Some).map_err(|refused: Invalid| Invalid {
            field: VARIABLE.to_owned(),
            accepted: format!("{}, true or false", refused.accepted),
            ..refused
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_would_write_is_understood_and_all_else_refused_by_name() {
        for (text, keep) in [
            ("1", Keep::Always),
            ("true", Keep::Always),
            ("always", Keep::Always),
            ("0", Keep::Never),
            ("never", Keep::Never),
            ("on_failure", Keep::OnFailure),
            ("attached", Keep::Attached),
        ] {
            assert_eq!(parse(text), Ok(Some(keep)), "{text}");
        }
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse("maybe").unwrap_err().field, VARIABLE);
    }
}

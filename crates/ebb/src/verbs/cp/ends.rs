//! The two ends of a copy, as they are written on the command line.

use std::convert::Infallible;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// A path here.
    Local(PathBuf),
    /// A path in a sandbox.
    Inside { id: String, path: String },
    /// Standard input or output.
    Standard,
}

impl FromStr for End {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.split_once(':') {
            _ if text == "-" => Self::Standard,
            // A colon behind a slash is part of a name here: ./a:b.
            Some((id, path)) if !id.is_empty() && !id.contains('/') => {
                let path = if path.is_empty() { "." } else { path };
                Self::Inside { id: id.to_owned(), path: path.to_owned() }
            }
            _ => Self::Local(PathBuf::from(text)),
        })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Inside { id, path } => write!(f, "{id}:{path}"),
            Self::Standard => f.write_str("-"),
        }
    }
}

/// The name that something has in the directory that it is copied into; none for `.`, `..` and `/`, which stand for what
/// is in them.
pub(super) fn name(path: &Path) -> Option<&Path> {
    let dotted = path.as_os_str().as_encoded_bytes().ends_with(b"/.");
    match path.components().next_back() {
        Some(Component::Normal(name)) if !dotted => Some(Path::new(name)),
        _ => None,
    }
}

/// `name` below the directory `path` of a sandbox.
pub(super) fn below(path: &str, name: &Path) -> String {
    format!("{}/{}", path.trim_end_matches('/'), name.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_is_told_from_a_path_by_what_is_before_the_colon() {
        let inside = |id: &str, path: &str| End::Inside { id: id.to_owned(), path: path.to_owned() };
        for (text, expected) in [
            ("01k:/tmp/a:b", inside("01k", "/tmp/a:b")),
            ("01k:rel", inside("01k", "rel")),
            ("01k:", inside("01k", ".")),
            ("-", End::Standard),
            ("./a:b", End::Local("./a:b".into())),
            ("/a:b", End::Local("/a:b".into())),
            (":x", End::Local(":x".into())),
            ("plain", End::Local("plain".into())),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_stands_for_its_content_has_no_name() {
        for (path, expected) in [("/a/b", Some("b")), ("/a/b/", Some("b")), ("b", Some("b"))] {
            assert_eq!(name(Path::new(path)), expected.map(Path::new), "{path}");
        }
        for path in [".", "..", "/", "/a/.", "/a/..", ""] {
            assert_eq!(name(Path::new(path)), None, "{path}");
        }
    }
}

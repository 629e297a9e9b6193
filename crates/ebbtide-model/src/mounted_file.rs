//! Files that are in a sandbox before its main command starts.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Invalid, Limits};

/// A file that is to be there, read-only, before the main command starts.
///
/// Two are equal when path and content are. The content itself is not part of the serialized form, which only tells it
/// by its size and digest: a record outlives its sandbox, the content need not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MountedFile {
    /// Where it is to be, absolute.
    pub path: String,
    size: usize,
    sha256: String,
    #[serde(skip)]
    content: Arc<[u8]>,
}

impl MountedFile {
    /// A file of this content at `path`.
    pub fn new(path: impl Into<String>, content: impl Into<Arc<[u8]>>) -> Self {
        let content = content.into();
        let mut sha256 = String::with_capacity(64);
        for byte in Sha256::digest(&content) {
            // Writing to a string cannot fail.
            let _ = write!(sha256, "{byte:02x}");
        }
        Self { path: path.into(), size: content.len(), sha256, content }
    }

    /// How many bytes it holds.
    pub fn size(&self) -> usize {
        self.size
    }

    /// What it holds; nothing where only its serialized form was at hand.
    pub fn content(&self) -> &Arc<[u8]> {
        &self.content
    }

    /// Lets go of the content, for whoever needs to know only that it was there.
    pub fn forget_content(&mut self) {
        self.content = Arc::default();
    }

    /// The same file with its content given back to it; `None` if this is another content.
    #[must_use]
    pub fn with_content(self, content: &[u8]) -> Option<Self> {
        let full = Self::new(self.path.as_str(), content);
        (full == self).then_some(full)
    }
}

impl PartialEq for MountedFile {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.size, &self.sha256) == (&other.path, other.size, &other.sha256)
    }
}

/// Checks the mounted files of one sandbox.
///
/// # Errors
/// The first that is malformed, there twice, or too much.
pub(crate) fn validate(files: &[MountedFile], limits: &Limits) -> Result<(), Invalid> {
    if files.len() > limits.max_mounted_files {
        let problem = format!("are {}", files.len());
        return Err(Invalid::new("files", problem, format!("at most {}", limits.max_mounted_files)));
    }
    let (mut seen, mut bytes) = (BTreeSet::new(), 0);
    for (index, file) in files.iter().enumerate() {
        let field = || format!("files[{index}].path");
        let path = file.path.as_str();
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        if path.contains('\0') || path.len() > 4095 {
            let problem = "holds a NUL byte, or is longer than 4095 bytes";
            return Err(Invalid::new(field(), problem, "a path that the kernel takes"));
        }
        if !path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(plain)) {
            let accepted = "an absolute path of a file, without empty parts, \".\" and \"..\"";
            return Err(Invalid::new(field(), format!("{path:?} is no such path"), accepted));
        }
        if !seen.insert(path) {
            return Err(Invalid::new(field(), format!("{path:?} is there twice"), "each path once"));
        }
        bytes += file.size;
    }
    if bytes > limits.max_mounted_bytes {
        let accepted = format!("at most {} bytes in all", limits.max_mounted_bytes);
        return Err(Invalid::new("files", format!("hold {bytes} bytes"), accepted));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(paths: &[&str]) -> String {
        let files: Vec<_> = paths.iter().map(|path| MountedFile::new(*path, *b"x")).collect();
        validate(&files, &Limits::default()).map_or_else(|invalid| invalid.field, |()| String::new())
    }

    #[test]
    fn paths_that_are_absolute_plain_and_different_are_accepted() {
        assert_eq!(field(&["/a", "/etc/b c", "/a/ü"]), "");
    }

    #[test]
    fn every_other_path_is_refused_by_its_place() {
        for bad in ["", "a", "/", "/a/", "//a", "/a/../b", "/./a", "/a\0b", &format!("/{}", "x".repeat(5000))]
        {
            assert_eq!(field(&["/ok", bad]), "files[1].path", "{bad:?}");
        }
        assert_eq!(field(&["/a", "/b", "/a"]), "files[2].path");
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        let limits = Limits { max_mounted_files: 2, max_mounted_bytes: 4, ..Limits::default() };
        let files = |count: usize, bytes: usize| -> Vec<_> {
            (0..count).map(|index| MountedFile::new(format!("/{index}"), vec![0; bytes])).collect()
        };
        assert!(validate(&files(2, 2), &limits).is_ok());
        assert_eq!(validate(&files(3, 0), &limits).unwrap_err().field, "files");
        assert_eq!(validate(&files(2, 3), &limits).unwrap_err().field, "files");
    }

    #[test]
    fn the_serialized_form_tells_contents_apart_without_holding_them() {
        let file = MountedFile::new("/a", *b"secret");
        let text = serde_json::to_string(&file).unwrap();
        assert!(!text.contains("secret") && !text.contains("115,101"), "{text}");
        let back: MountedFile = serde_json::from_str(&text).unwrap();
        assert_eq!((&back, back.content().len()), (&file, 0));
        assert_ne!(back, MountedFile::new("/a", *b"other!"));
        assert_eq!(back.clone().with_content(b"secret").unwrap().content().as_ref(), b"secret");
        assert!(back.with_content(b"other!").is_none());
    }
}

//! Names of images, by Docker's rules.

use std::fmt;
use std::str::FromStr;

use oci_spec::distribution::{ParseError, Reference};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, ImageError};

/// The longest name, in full: it is the name of a file, too.
const MOST_BYTES: usize = 255;
const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_NAMESPACE: &str = "library/";

/// The name of an image: registry, repository, and a tag or a digest or both.
///
/// What is left out is filled in: `python` is `docker.io/library/python:latest`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ImageName {
    reference: Reference,
    digest: Option<Digest>,
}

impl ImageName {
    /// The registry: a host, maybe with a port.
    pub fn registry(&self) -> &str {
        self.reference.registry()
    }

    /// The repository within the registry.
    pub fn repository(&self) -> &str {
        self.reference.repository()
    }

    /// The tag; `None` only if there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.reference.tag()
    }

    /// The digest, if the name has one. It decides then, whatever the tag is.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository with a digest and no tag.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { reference: self.reference.clone_with_digest(digest.to_string()), digest: Some(digest) }
    }

    /// The name without what everybody fills in: `python:3.11`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full.strip_prefix(DEFAULT_REGISTRY).and_then(|rest| rest.strip_prefix('/'));
        let Some(short) = short else { return full };
        // `library/a/b` needs its first part.
        let alone = self.repository().strip_prefix(DEFAULT_NAMESPACE).is_some_and(|rest| !rest.contains('/'));
        if alone { short[DEFAULT_NAMESPACE.len()..].to_owned() } else { short.to_owned() }
    }

    /// What decides which image it is: without the tag if there is a digest.
    pub(crate) fn deciding(&self) -> Self {
        self.digest.map_or_else(|| self.clone(), |digest| self.with_digest(digest))
    }
}

impl FromStr for ImageName {
    type Err = ImageError;

    fn from_str(name: &str) -> Result<Self, ImageError> {
        let wrong = |problem: &str| ImageError::Name {
            name: name.chars().take(MOST_BYTES).collect(),
            problem: problem.to_owned(),
        };
        if name.len() > MOST_BYTES {
            return Err(wrong("it is longer than 255 bytes"));
        }
        let reference: Reference = name.parse().map_err(|error| match error {
            ParseError::ReferenceInvalidFormat if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                wrong("it has a character or a capital letter where there may be none")
            }
            ParseError::ReferenceInvalidFormat => wrong("it has a character where there may be none"),
            error => wrong(&error.to_string()),
        })?;
        if reference.repository().bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(wrong("a repository has no capital letters"));
        }
        let digest = reference
            .digest()
            .map(|digest| digest.parse::<Digest>().map_err(|_| wrong("its digest is not a sha256: digest")))
            .transpose()?;
        let name = Self { reference, digest };
        if name.to_string().len() > MOST_BYTES {
            return Err(wrong("with its registry and tag it is longer than 255 bytes"));
        }
        Ok(name)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.fmt(to)
    }
}

impl fmt::Debug for ImageName {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.fmt(to)
    }
}

impl Serialize for ImageName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ImageName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(name: &str) -> (String, String, Option<String>, String) {
        let name: ImageName = name.parse().unwrap();
        (
            name.registry().to_owned(),
            name.repository().to_owned(),
            name.tag().map(Into::into),
            name.familiar(),
        )
    }

    #[test]
    fn names_mean_what_they_mean_to_docker() {
        let digest = Digest::of(b"");
        let pinned = format!("python@{digest}");
        for (name, registry, repository, tag, familiar) in [
            ("python", "docker.io", "library/python", Some("latest"), "python:latest"),
            ("python:3.11", "docker.io", "library/python", Some("3.11"), "python:3.11"),
            ("index.docker.io/python:3", "docker.io", "library/python", Some("3"), "python:3"),
            ("some/one", "docker.io", "some/one", Some("latest"), "some/one:latest"),
            ("library/a/b:1", "docker.io", "library/a/b", Some("1"), "library/a/b:1"),
            ("localhost/a", "localhost", "a", Some("latest"), "localhost/a:latest"),
            ("localhost:5000/a/b:c", "localhost:5000", "a/b", Some("c"), "localhost:5000/a/b:c"),
            ("127.0.0.1:5000/a", "127.0.0.1:5000", "a", Some("latest"), "127.0.0.1:5000/a:latest"),
            ("ghcr.io/o/i:v1_2-3.4", "ghcr.io", "o/i", Some("v1_2-3.4"), "ghcr.io/o/i:v1_2-3.4"),
            (&pinned, "docker.io", "library/python", None, &pinned),
        ] {
            assert_eq!(
                parts(name),
                (registry.into(), repository.into(), tag.map(Into::into), familiar.into()),
                "{name}"
            );
            // The full and the short name mean the same.
            let full: ImageName = name.parse().unwrap();
            assert_eq!(full.to_string().parse::<ImageName>().unwrap(), full);
            assert_eq!(full.familiar().parse::<ImageName>().unwrap(), full);
        }
    }

    #[test]
    fn what_is_no_name_is_refused_and_said_so() {
        let sha512 = format!("python@sha512:{}", "0".repeat(128));
        let long = "a".repeat(256);
        let long_in_full = format!("{}:{}", "a".repeat(120), "b".repeat(128));
        for name in [
            "",
            " ",
            "Python",
            "a b",
            "a/../b",
            "/a",
            "a/",
            "a:",
            "a@",
            "a:b:c",
            "a@sha256:00",
            "-a",
            "a\n",
            "ä",
            "Foo/bar",
            "a+b",
            "../a",
            &sha512,
            &long,
            &long_in_full,
        ] {
            let error = name.parse::<ImageName>().unwrap_err();
            assert!(matches!(error, ImageError::Name { .. }), "{name}: {error}");
        }
    }

    #[test]
    fn a_digest_decides_whatever_the_tag_is() {
        let digest = Digest::of(b"");
        let both: ImageName = format!("python:3.11@{digest}").parse().unwrap();
        assert_eq!((both.tag(), both.digest()), (Some("3.11"), Some(&digest)));
        assert_eq!(both.deciding(), format!("python@{digest}").parse().unwrap());
    }
}

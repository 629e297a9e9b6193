//! Names of images, by Docker's rules.
//!
//! Read by hand: the parser of `oci-spec`, which a test compares this one with, is a regular expression that takes 76 ms
//! to compile, in each process that reads a name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, ImageError};

/// The longest name, in full: it is the name of a file, too.
const MOST_BYTES: usize = 255;
const MOST_TAG_BYTES: usize = 128;
const DEFAULT_REGISTRY: &str = "docker.io";
/// The same registry, by an older name.
const OLDER_REGISTRY: &str = "index.docker.io";
const DEFAULT_NAMESPACE: &str = "library/";
const DEFAULT_TAG: &str = "latest";

/// The name of an image: registry, repository, and a tag or a digest or both.
///
/// What is left out is filled in: `python` is `docker.io/library/python:latest`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ImageName {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl ImageName {
    /// The registry: a host, maybe with a port.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `None` only if there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the name has one. It decides then, whatever the tag is.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository with a digest and no tag.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The name without what everybody fills in: `python:3.11`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full.strip_prefix(DEFAULT_REGISTRY).and_then(|rest| rest.strip_prefix('/'));
        let Some(short) = short else { return full };
        // `library/a/b` needs its first part.
        let alone = self.repository.strip_prefix(DEFAULT_NAMESPACE).is_some_and(|rest| !rest.contains('/'));
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
        parse(name).map_err(|problem| ImageError::Name {
            name: name.chars().take(MOST_BYTES).collect(),
            problem: problem.to_owned(),
        })
    }
}

fn parse(name: &str) -> Result<ImageName, &'static str> {
    if name.len() > MOST_BYTES {
        return Err("it is longer than 255 bytes");
    }
    let (name, digest) = match name.split_once('@') {
        Some((name, digest)) => {
            (name, Some(digest.parse::<Digest>().map_err(|_| "its digest is no sha256: digest")?))
        }
        None => (name, None),
    };
    // A colon before a slash is one of a port.
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err("its tag has a character where there may be none, or more than 128");
    }
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if is_host(first) => (first, rest),
        _ => (DEFAULT_REGISTRY, name),
    };
    let registry = if registry == OLDER_REGISTRY { DEFAULT_REGISTRY } else { registry };
    if !is_registry(registry) {
        return Err("its registry is not a host, with a port or without");
    }
    if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("a repository has no capital letters");
    }
    if !repository.split('/').all(is_component) {
        return Err("its repository has a character where there may be none");
    }
    let is_short = registry == DEFAULT_REGISTRY && !repository.contains('/');
    let name = ImageName {
        registry: registry.to_owned(),
        repository: format!("{}{repository}", if is_short { DEFAULT_NAMESPACE } else { "" }),
        tag: tag.or(digest.is_none().then_some(DEFAULT_TAG)).map(Into::into),
        digest,
    };
    if name.to_string().len() > MOST_BYTES {
        return Err("with its registry and tag it is longer than 255 bytes");
    }
    Ok(name)
}

/// Whether what is before the first slash is a registry and not the beginning of a repository.
fn is_host(first: &str) -> bool {
    first == "localhost" || first.bytes().any(|byte| matches!(byte, b'.' | b':') || byte.is_ascii_uppercase())
}

fn is_registry(registry: &str) -> bool {
    let (host, port) = registry.split_once(':').unwrap_or((registry, "0"));
    let is_label = |label: &str| {
        label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !(label.is_empty() || label.starts_with('-') || label.ends_with('-'))
    };
    host.split('.').all(is_label) && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Letters and digits, with `.`, `_`, `__` or any number of `-` between them.
fn is_component(component: &str) -> bool {
    let is_separator = |separator: &str| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
    };
    let is_plain = |byte: char| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    component.starts_with(is_plain)
        && component.ends_with(is_plain)
        && component.split(is_plain).all(is_separator)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MOST_TAG_BYTES
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

impl fmt::Display for ImageName {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(to, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(to, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ImageName {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, to)
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
    use oci_spec::distribution::Reference;
    use proptest::prelude::*;

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
            ("Host/a", "Host", "a", Some("latest"), "Host/a:latest"),
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
            "Foo/Bar",
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

    proptest! {
        #[test]
        fn every_name_is_read_as_others_read_it(
            name in "([a-z0-9]{1,3}[.:/_-]{1,2}){0,4}[a-z0-9]{0,2}(:[a-zA-Z0-9._-]{0,3})?(@sha256:[0-9a-f]{64})?",
        ) {
            // They take what is no host for a registry, where all of it would do for a repository: `a.b_c/d`.
            let others = name.parse::<Reference>().ok().filter(|name| !name.registry().contains('_'));
            let theirs = others.as_ref().map(|name| (name.registry(), name.repository(), name.tag(), name.digest()));
            let ours = name.parse::<ImageName>().ok();
            let digest = ours.as_ref().and_then(|name| name.digest()).map(ToString::to_string);
            let ours = ours.as_ref().map(|name| (name.registry(), name.repository(), name.tag(), digest.as_deref()));
            prop_assert_eq!(ours, theirs, "{}", name);
        }
    }
}

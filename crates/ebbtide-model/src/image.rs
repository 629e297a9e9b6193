//! Names of images, and the aliases that stand for others.

use std::collections::BTreeMap;

use crate::Invalid;

/// How many aliases may lead to one another.
const MOST_STEPS: usize = 8;
/// The longest name.
const MOST_BYTES: usize = 256;

/// Names that stand for others: `python:3.11` for `host`, say.
///
/// A name without a tag and the same name with the tag `latest` are one, as everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageAliases(BTreeMap<String, String>);

impl ImageAliases {
    /// Takes a table of names and what each stands for.
    ///
    /// # Errors
    /// When a name is malformed, or leads to itself or too far.
    pub fn new(table: impl IntoIterator<Item = (String, String)>) -> Result<Self, Invalid> {
        let mut aliases = Self::default();
        for (name, target) in table {
            check(&name)?;
            check(&target)?;
            aliases.0.insert(canonical(&name).to_owned(), canonical(&target).to_owned());
        }
        for name in aliases.0.keys() {
            aliases.resolve(name)?;
        }
        Ok(aliases)
    }

    /// These aliases, and those of `more`, which come first.
    ///
    /// # Errors
    /// When a name then leads to itself or too far.
    pub fn overlaid_with(&self, more: &Self) -> Result<Self, Invalid> {
        Self::new(self.0.clone().into_iter().chain(more.0.clone()))
    }

    /// The image that a name stands for in the end; a name that is no alias stands for itself.
    ///
    /// # Errors
    /// When the name leads to itself or too far.
    pub fn resolve<'a>(&'a self, name: &'a str) -> Result<&'a str, Invalid> {
        let mut steps = vec![name];
        let mut at = name;
        while let Some(target) = self.0.get(canonical(at)) {
            steps.push(target);
            if steps.len() > MOST_STEPS + 1 {
                let problem = format!("leads in a circle or too far: {}", steps.join(" -> "));
                return Err(Invalid::new(
                    format!("images.alias.{name:?}"),
                    problem,
                    format!("an alias that comes to an image in {MOST_STEPS} steps"),
                ));
            }
            at = target;
        }
        Ok(at)
    }

    /// The aliases, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, target)| (name.as_str(), target.as_str()))
    }

    /// Takes an alias away; whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(canonical(name)).is_some()
    }
}

fn canonical(name: &str) -> &str {
    name.strip_suffix(":latest").unwrap_or(name)
}

fn check(name: &str) -> Result<(), Invalid> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if !canonical(name).is_empty() && name.len() <= MOST_BYTES && name.bytes().all(is_plain) {
        return Ok(());
    }
    let accepted = format!("1 to {MOST_BYTES} bytes of ASCII without spaces, quotes and backslashes");
    Err(Invalid::new("images.alias", format!("{name:?} is no name of an image"), accepted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aliases(table: &[(&str, &str)]) -> Result<ImageAliases, Invalid> {
        ImageAliases::new(table.iter().map(|(name, target)| ((*name).to_owned(), (*target).to_owned())))
    }

    #[test]
    fn a_name_stands_for_what_it_leads_to_in_the_end() {
        let known =
            aliases(&[("python:3.11", "base"), ("base:latest", "host"), ("node:latest", "host")]).unwrap();
        for name in ["python:3.11", "base", "base:latest", "node", "host"] {
            assert_eq!(known.resolve(name).unwrap(), "host", "{name}");
        }
        assert_eq!(known.resolve("python:3.12").unwrap(), "python:3.12");
        let mut later = known.overlaid_with(&aliases(&[("base", "other")]).unwrap()).unwrap();
        assert_eq!(later.resolve("python:3.11").unwrap(), "other");
        assert!(later.remove("base:latest") && !later.remove("base"));
        assert_eq!(later.resolve("python:3.11").unwrap(), "base");
    }

    #[test]
    fn circles_and_malformed_names_are_refused_by_name() {
        let circle = aliases(&[("a", "b"), ("b", "c"), ("c", "a")]).unwrap_err().to_string();
        assert!(circle.contains("a -> b -> c -> a"), "{circle}");
        assert!(aliases(&[("x", "x:latest")]).is_err());
        let chain: Vec<_> = (0..9).map(|n| (format!("i{n}"), format!("i{}", n + 1))).collect();
        assert!(ImageAliases::new(chain[1..].to_vec()).is_ok());
        assert!(ImageAliases::new(chain).is_err());
        for name in ["", ":latest", "a b", "a\"b", "a\nb", &"x".repeat(257)] {
            assert!(aliases(&[(name, "host")]).is_err() && aliases(&[("n", name)]).is_err(), "{name:?}");
        }
    }
}

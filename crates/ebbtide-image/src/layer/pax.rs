//! What an extended header says of the entry after it.
//!
//! Read here and not by the `tar` crate, which takes a line feed for the end of a record: names and attributes may
//! hold one.

use rustix::fs::Timespec;

use super::sparse::Piece;
use crate::ImageError;

/// What came before an entry and overrides its header.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Timespec>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SaidSparse,
}

/// What GNU tar says of a sparse file, in one of its three ways.
#[derive(Debug, Default)]
pub(super) struct SaidSparse {
    pub(super) path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// The pieces, in the two older ways.
    pub(super) pieces: Option<Vec<Piece>>,
    /// The pieces are told at the beginning of the content: the third way.
    pub(super) in_content: bool,
    offset: u64,
}

impl Said {
    /// Takes the records of a header: each a length in decimal, a space, a name, `=`, a value, a line feed.
    pub(super) fn take(&mut self, mut records: &[u8]) -> Result<(), ImageError> {
        while !records.is_empty() {
            let (record, rest) = split(records).ok_or_else(|| malformed("its records do not add up"))?;
            records = rest;
            let equals = record
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or_else(|| malformed("a record has no value"))?;
            self.record(&record[..equals], &record[equals + 1..])?;
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), ImageError> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        // No value: what the header itself says holds.
        if value.is_empty() {
            return Ok(());
        }
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            b"GNU.sparse.name" => self.sparse.path = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = Some(decimal(value)?),
            b"GNU.sparse.major" => self.sparse.in_content = value != b"0",
            b"GNU.sparse.map" => {
                let numbers: Result<Vec<_>, _> = value.split(|byte| *byte == b',').map(decimal).collect();
                let numbers = numbers?;
                let pieces = numbers.chunks(2).map(|pair| match *pair {
                    [offset, length] => Ok(Piece { offset, length }),
                    _ => Err(malformed("a sparse file's map has an odd number")),
                });
                self.sparse.pieces = Some(pieces.collect::<Result<_, _>>()?);
            }
            b"GNU.sparse.offset" => self.sparse.offset = decimal(value)?,
            b"GNU.sparse.numbytes" => {
                let piece = Piece { offset: self.sparse.offset, length: decimal(value)? };
                self.sparse.pieces.get_or_insert_default().push(piece);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The first record, without its length and line feed, and the others.
fn split(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = records.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&records[..space]).ok()?).ok()?;
    let record = records.get(space + 1..length)?;
    Some((record.strip_suffix(b"\n")?, &records[length..]))
}

/// A number in decimal.
pub(super) fn decimal(digits: &[u8]) -> Result<u64, ImageError> {
    let wrong = || malformed("a number is none");
    if digits.is_empty() || digits.len() > 20 {
        return Err(wrong());
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0')).ok_or_else(wrong)?;
        number.checked_mul(10).and_then(|number| number.checked_add(digit)).ok_or_else(wrong)
    })
}

/// Seconds, with a sign and a fraction if there are any.
fn time(text: &[u8]) -> Result<Timespec, ImageError> {
    let (is_before, text) = text.strip_prefix(b"-").map_or((false, text), |text| (true, text));
    let point = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let seconds = i64::try_from(decimal(&text[..point])?).map_err(|_| malformed("a time is none"))?;
    let fraction = text.get(point + 1..).unwrap_or_default();
    let mut nanoseconds = 0;
    for at in 0..9 {
        let digit = fraction.get(at).copied().unwrap_or(b'0');
        let digit =
            digit.is_ascii_digit().then(|| digit - b'0').ok_or_else(|| malformed("a time is none"))?;
        nanoseconds = nanoseconds * 10 + i64::from(digit);
    }
    Ok(match (is_before, nanoseconds) {
        (false, _) => Timespec { tv_sec: seconds, tv_nsec: nanoseconds },
        (true, 0) => Timespec { tv_sec: -seconds, tv_nsec: 0 },
        (true, _) => Timespec { tv_sec: -seconds - 1, tv_nsec: 1_000_000_000 - nanoseconds },
    })
}

pub(super) fn malformed(problem: &'static str) -> ImageError {
    ImageError::malformed("the layer's tar stream", problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length += 1;
        }
        let mut record = format!("{length} {key}=").into_bytes();
        record.extend(value);
        record.push(b'\n');
        record
    }

    #[test]
    fn names_and_attributes_may_hold_any_byte() {
        let mut said = Said::default();
        let value = b"\x01\n17 path=../evil\n\0=";
        let records =
            [record("path", b"a\nb=c"), record("SCHILY.xattr.user.x", value), record("comment", b"")];
        said.take(&records.concat()).unwrap();
        assert_eq!(said.path.as_deref(), Some(&b"a\nb=c"[..]));
        assert_eq!(said.xattrs, [(b"user.x".to_vec(), value.to_vec())]);
    }

    #[test]
    fn times_have_fractions_and_signs() {
        for (text, seconds, nanoseconds) in [
            ("1700000000", 1_700_000_000, 0),
            ("1.5", 1, 500_000_000),
            ("1.0000000019", 1, 1),
            ("-1", -1, 0),
            ("-1.25", -2, 750_000_000),
        ] {
            let time = time(text.as_bytes()).unwrap();
            assert_eq!((time.tv_sec, time.tv_nsec), (seconds, nanoseconds), "{text}");
        }
        for wrong in ["", ".", "x", "1.x", "--1", "99999999999999999999"] {
            assert!(time(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn records_that_do_not_add_up_are_an_error() {
        for wrong in [
            &b"5"[..],
            b"5 a=b",
            b"99999999999999999999 a=b\n",
            b"6 a=bc\n",
            b"4 a\n",
            b"0 ",
            b"1 a=b\n",
            b" a=b\n",
        ] {
            assert!(Said::default().take(wrong).is_err(), "{wrong:?}");
        }
        for (key, value) in
            [("size", "-1"), ("uid", "x"), ("GNU.sparse.map", "1,2,3"), ("GNU.sparse.map", ",")]
        {
            assert!(Said::default().take(&record(key, value.as_bytes())).is_err(), "{key}={value}");
        }
    }
}

//! Terminals.

use crate::Invalid;

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// The width; 0 is the usual one.
    pub columns: u16,
    /// The height; 0 is the usual one.
    pub rows: u16,
}

impl WindowSize {
    /// The size of a terminal of which nothing is known.
    pub const USUAL: Self = Self { columns: 80, rows: 24 };

    /// A size from two numbers and the names of their fields; `least` is 0 where a size may be left out.
    ///
    /// # Errors
    /// When one of them is out of range.
    pub fn checked(least: u16, columns: (&str, u32), rows: (&str, u32)) -> Result<Self, Invalid> {
        let check = |(field, number): (&str, u32)| match u16::try_from(number) {
            Ok(number) if number >= least => Ok(number),
            _ => Err(Invalid::new(
                field,
                format!("{number} is no size of a terminal"),
                format!("{least} to {}", u16::MAX),
            )),
        };
        Ok(Self { columns: check(columns)?, rows: check(rows)? })
    }

    /// This size, with the usual one for what is not given.
    #[must_use]
    pub fn or_usual(self) -> Self {
        let given = |one: u16, usual| if one == 0 { usual } else { one };
        Self { columns: given(self.columns, Self::USUAL.columns), rows: given(self.rows, Self::USUAL.rows) }
    }
}

impl Default for WindowSize {
    fn default() -> Self {
        Self::USUAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_is_none_is_refused_by_the_name_of_its_field() {
        let check = |least, columns, rows| {
            WindowSize::checked(least, ("w", columns), ("h", rows)).map_err(|e| e.field)
        };
        assert_eq!(check(0, 0, 65_535), Ok(WindowSize { columns: 0, rows: 65_535 }));
        assert_eq!(check(0, 65_536, 1), Err("w".to_owned()));
        assert_eq!(check(1, 1, 0), Err("h".to_owned()));
        assert_eq!(check(1, u32::MAX, 1), Err("w".to_owned()));
    }

    #[test]
    fn what_is_left_out_is_the_usual() {
        assert_eq!(WindowSize { columns: 0, rows: 7 }.or_usual(), WindowSize { columns: 80, rows: 7 });
    }
}

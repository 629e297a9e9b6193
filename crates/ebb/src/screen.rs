//! What a program has switched on our screen, so that it can be switched back if the program cannot do it any more.
//!
//! Settings of the line come back with one call (see `terminal`). The screen's own modes (the second screen of a
//! pager, a hidden cursor, mouse reports) are known to the terminal alone; all that can be done is to watch what was
//! sent to it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The private modes that are worth undoing, each off by default but for the cursor.
const MODES: [u16; 14] = [1, 25, 47, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1047, 1048, 1049, 2004];
const CURSOR: u16 = 25;
/// A longer sequence is not one of those.
const LONGEST: usize = 64;

/// Follows what is shown.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    state: State,
    /// The modes that are not at their default.
    changed: BTreeSet<u16>,
    keypad: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Text,
    Escape,
    /// After `ESC [`.
    Sequence(Vec<u8>),
}

impl Screen {
    /// Takes note of what is about to be shown.
    pub(crate) fn show(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.state = match (std::mem::take(&mut self.state), byte) {
                (_, 0x1b) => State::Escape,
                (State::Escape, b'[') => State::Sequence(Vec::new()),
                (State::Escape, b'=' | b'>') => {
                    self.keypad = byte == b'=';
                    State::Text
                }
                // A full reset.
                (State::Escape, b'c') => {
                    *self = Self::default();
                    State::Text
                }
                (State::Sequence(sequence), b'h' | b'l') => {
                    self.switch(&sequence, byte == b'h');
                    State::Text
                }
                (State::Sequence(mut sequence), b'0'..=b'9' | b';' | b'?') if sequence.len() < LONGEST => {
                    sequence.push(byte);
                    State::Sequence(sequence)
                }
                _ => State::Text,
            }
        }
    }

    fn switch(&mut self, sequence: &[u8], on: bool) {
        let Some(modes) = sequence.strip_prefix(b"?") else { return };
        for mode in String::from_utf8_lossy(modes).split(';').filter_map(|mode| mode.parse().ok()) {
            if !MODES.contains(&mode) {
                continue;
            }
            if on == (mode == CURSOR) {
                self.changed.remove(&mode);
            } else {
                self.changed.insert(mode);
            }
        }
    }

    /// What switches everything back, the plain colours last.
    pub(crate) fn undo(&self) -> String {
        let mut undo = String::new();
        for &mode in &self.changed {
            let to = if mode == CURSOR { 'h' } else { 'l' };
            // Writing to memory cannot fail.
            let _ = write!(undo, "\x1b[?{mode}{to}");
        }
        if self.keypad {
            undo.push_str("\x1b>");
        }
        undo.push_str("\x1b[0m");
        undo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undo(shown: &[&[u8]]) -> String {
        let mut screen = Screen::default();
        shown.iter().for_each(|bytes| screen.show(bytes));
        screen.undo()
    }

    #[test]
    fn what_is_switched_is_switched_back_wherever_the_output_is_cut() {
        assert_eq!(undo(&[b"\x1b[?1049h\x1b[?25l\x1b="]), "\x1b[?25h\x1b[?1049l\x1b>\x1b[0m");
        assert_eq!(undo(&[b"\x1b[?10", b"49", b"h"]), "\x1b[?1049l\x1b[0m");
        assert_eq!(undo(&[b"\x1b[?1002;1006h"]), "\x1b[?1002l\x1b[?1006l\x1b[0m");
    }

    #[test]
    fn what_the_program_switched_back_itself_is_left_alone() {
        assert_eq!(undo(&[b"\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l"]), "\x1b[0m");
        assert_eq!(undo(&[b"\x1b[?2004h\x1b=\x1bc"]), "\x1b[0m");
    }

    #[test]
    fn other_sequences_and_plain_bytes_are_no_switches() {
        let endless = [b"\x1b[?".as_slice(), &[b'1'; 1 << 16], b"h"].concat();
        assert_eq!(
            undo(&[b"?1049h \x1b[1049h \x1b[4h \x1b[?99999999999h \x1b[?12h \xff\x1b", &endless]),
            "\x1b[0m"
        );
    }
}

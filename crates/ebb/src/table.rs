//! Tables for people: they fit the terminal, and a file or a pipe gets one line per row.

use std::io::IsTerminal;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use rustix::termios::tcgetwinsize;

/// Whether what is written there may be coloured: on a terminal, unless `NO_COLOR` says otherwise.
pub(crate) fn colours(to: &impl IsTerminal) -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && to.is_terminal()
}

/// The text of a table.
pub(crate) fn render(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let width = tcgetwinsize(rustix::stdio::stdout()).ok().map(|size| size.ws_col).filter(|width| *width > 0);
    layout(header, rows, width)
}

fn layout(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    match width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table.set_header(header.to_vec()).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A text as part of one line: short, and without anything that a terminal would act on.
pub(crate) fn one_line(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut line: String =
        text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(LONGEST + 1).collect();
    if line.chars().count() > LONGEST {
        line.pop();
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_cannot_write_to_the_terminal_of_whoever_lists_it() {
        assert_eq!(one_line("a\x1b[2J\nb"), "a [2J b");
        assert_eq!(one_line(&"x".repeat(100)).chars().count(), 61);
    }

    #[test]
    fn a_table_fits_the_terminal_and_a_pipe_gets_whole_lines() {
        let rows = || vec![vec!["x".repeat(60), "y ".repeat(60)]];
        for width in [40, 80, 120] {
            let table = layout(&["ID", "TAGS"], rows(), Some(width));
            assert!(table.lines().all(|line| line.chars().count() <= usize::from(width)), "{table}");
        }
        assert_eq!(layout(&["ID", "TAGS"], rows(), None).lines().count(), 2);
    }
}

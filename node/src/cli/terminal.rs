//! Writing to terminals and pipes.

use std::io::{self, IsTerminal, Write};

use anstyle::Style;

use super::args::ColorChoice;

/// Whether standard output gets colours.
pub fn use_colors(choice: ColorChoice) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let able = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
            wanted && able && io::stdout().is_terminal()
        }
    }
}

/// Rows with columns of one width each, but for the last one; a line for each row.
pub fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    rows.iter().fold(String::new(), |mut text, row| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
        text
    })
}

/// `text` in `style`, or plain.
pub fn paint(out: &mut impl Write, style: Style, colors: bool, text: &[u8]) -> io::Result<()> {
    if colors {
        write!(out, "{style}")?;
        out.write_all(text)?;
        write!(out, "{style:#}")
    } else {
        out.write_all(text)
    }
}

/// Bytes as a terminal can show them. Content and paths come from anyone's repository: an escape
/// sequence in them could rewrite the screen, the title or the clipboard, and a bidirectional
/// control could make code read as other code. Those are shown as `\x1b` and `\u{202e}`; bytes that
/// are not UTF-8 as `\xff`.
pub fn printable(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            push_printable(&mut shown, character);
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

fn push_printable(shown: &mut String, character: char) {
    match character {
        '\t' => shown.push('\t'),
        '\0'..='\x1f' | '\x7f' => shown.push_str(&format!("\\x{:02x}", u32::from(character))),
        '\u{80}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => {
            shown.push_str(&format!("\\u{{{:x}}}", u32::from(character)));
        }
        _ => shown.push(character),
    }
}

/// A path for one line of plain output: only what would break the line is escaped.
pub fn one_line(bytes: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            byte => line.push(*byte),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["A".to_owned(), "B".to_owned()], ["longer".to_owned(), "x".to_owned()]];
        assert_eq!(aligned(&rows), "A       B\nlonger  x\n");
    }

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        let hostile = "\u{1b}]0;owned\u{7}\u{9b}31m\u{7f}\r\n\u{202e}x\u{2066}\u{200f}\u{2028}";
        let shown = printable(hostile.as_bytes());
        assert_eq!(
            shown,
            "\\x1b]0;owned\\x07\\u{9b}31m\\x7f\\x0d\\x0a\\u{202e}x\\u{2066}\\u{200f}\\u{2028}"
        );
        assert_eq!(printable(b"caf\xe9\t\xc3\xa9"), "caf\\xe9\té");
        for code in 0..=0x10_ffff {
            let Some(character) = char::from_u32(code) else { continue };
            let shown = printable(character.to_string().as_bytes());
            assert!(!shown.chars().any(|c| c.is_control() && c != '\t'), "{code:x}");
        }
    }

    #[test]
    fn a_path_stays_on_its_line() {
        assert_eq!(one_line(b"a\nb\rc\xff"), b"a\\nb\\rc\xff");
    }
}

//! Tables for terminals: columns as wide as their widest cell, two blanks between, no lines. Where that is too wide for the terminal, the last column is broken
//! between words, and of the others the widest give way.

use std::io::IsTerminal;

/// The gap between two columns.
const GAP: usize = 2;

/// A last column that is broken into lines is at least so wide.
const LAST: usize = 24;

/// No other column is made narrower than this.
const LEAST: usize = 9;

/// Writes rows under headings, to fit the terminal if standard output is one. The last column is not padded.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let room = std::io::stdout().is_terminal().then(terminal_size::terminal_size).flatten().map(|(width, _)| usize::from(width.0));
    table_in(room, headings, rows)
}

/// The same within so many columns of text; none is without limit.
fn table_in(room: Option<usize>, headings: &[&str], rows: &[Vec<String>]) -> String {
    let headings: Vec<String> = headings.iter().map(|heading| heading.to_uppercase()).collect();
    let all = || std::iter::once(&headings).chain(rows);
    let mut widths: Vec<usize> = (0..headings.len()).map(|column| all().map(|row| length(&row[column])).max().unwrap_or(0)).collect();
    if let Some(room) = room {
        fit(&mut widths, room);
    }
    all().flat_map(|row| lines(row, &widths)).collect()
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// Narrows columns until a row fits, as far as that goes.
fn fit(widths: &mut [usize], room: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    let Some((last, others)) = widths.split_last_mut() else { return };
    let least_last = LAST.min(*last);
    while others.iter().sum::<usize>() + gaps + least_last > room {
        match others.iter_mut().filter(|width| **width > LEAST).max() {
            Some(widest) => *widest -= 1,
            None => break,
        }
    }
    *last = room.saturating_sub(others.iter().sum::<usize>() + gaps).clamp(least_last, *last);
}

/// A row: the cells cut to their widths, the last one broken into as many lines as it takes.
fn lines(row: &[String], widths: &[usize]) -> Vec<String> {
    let (Some((last, others)), Some((last_width, other_widths))) = (row.split_last(), widths.split_last()) else { return Vec::new() };
    let cells: Vec<String> = others.iter().zip(other_widths).map(|(cell, width)| format!("{:width$}", cut(cell, *width))).collect();
    let indent = other_widths.iter().map(|width| width + GAP).sum();
    let first: String = cells.iter().map(|cell| format!("{cell}{:GAP$}", "")).collect();
    let broken = broken(last, *last_width);
    let line = |(number, part): (usize, &String)| {
        let before = if number == 0 { first.clone() } else { " ".repeat(indent) };
        format!("{}\n", format!("{before}{part}").trim_end())
    };
    broken.iter().enumerate().map(line).collect()
}

fn cut(cell: &str, width: usize) -> String {
    if length(cell) <= width {
        return cell.to_owned();
    }
    cell.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Text in lines of at most `width`, broken between words; a longer word has a line of its own.
fn broken(text: &str, width: usize) -> Vec<String> {
    if length(text) <= width {
        return vec![text.to_owned()];
    }
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is a line");
        if line.is_empty() {
            line.push_str(word);
        } else if length(line) + 1 + length(word) <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// "999 B", "1.0 kB", "12.3 MB": powers of ten, as networks are measured.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (count as f64, "B");
    for next in UNITS {
        if value < 999.95 {
            break;
        }
        (value, unit) = (value / 1_000.0, next);
    }
    if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn columns_stand_under_their_headings() {
        let rows = rows(&[&["10.1.2.0/24", "a"], &["-", "b c"]]);
        assert_eq!(table_in(None, &["subnet", "node"], &rows), "SUBNET       NODE\n10.1.2.0/24  a\n-            b c\n");
    }

    #[test]
    fn a_sentence_is_broken_between_words_and_stays_in_its_column() {
        let rows = rows(&[&["4 s ago", "the route to 10.1.2.0/24 was deleted from outside and is back"]]);
        let table = table_in(Some(40), &["when", "what happened"], &rows);
        assert_eq!(
            table,
            "WHEN     WHAT HAPPENED\n4 s ago  the route to 10.1.2.0/24 was\n         deleted from outside and is\n         back\n"
        );
    }

    #[test]
    fn wide_columns_give_way_and_narrow_ones_do_not() {
        let long = "fd00:1234:5678:9abc::/64 and 10.100.200.0/24";
        let rows = rows(&[&[long, "udp", "in 23h59m59s"], &["10.1.2.0/24", "vxlan", "never (reserved)"]]);
        let table = table_in(Some(48), &["subnet", "way", "expires"], &rows);
        assert!(table.lines().all(|line| length(line) <= 48), "{table}");
        assert!(table.contains("fd00:1234:5678:9abc:") && table.contains('…') && table.contains("vxlan  never (reserved)"), "{table}");
    }

    #[test]
    fn a_terminal_that_is_far_too_narrow_still_gets_every_column() {
        let rows = rows(&[&["10.100.200.0/24", "192.168.100.200", "a sentence of several words"]]);
        let table = table_in(Some(10), &["subnet", "reached at", "why"], &rows);
        assert!(table.contains("10.100.2…") && table.contains("words"), "{table}");
    }

    #[test]
    fn bytes_have_the_unit_that_suits() {
        assert_eq!([0, 999, 1_000, 999_949, 999_950, 12_345_678].map(bytes), ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "12.3 MB"]);
    }
}

//! Tables for terminals: columns as wide as their widest cell, two blanks between, no lines.

/// Writes rows under headings. The last column is not padded.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(column, heading)| rows.iter().map(|row| row[column].chars().count()).chain([heading.len()]).max().unwrap_or(0))
        .collect();
    let headings: Vec<String> = headings.iter().map(|heading| heading.to_uppercase()).collect();
    std::iter::once(&headings).chain(rows).map(|row| line(row, &widths)).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    format!("{}\n", cells.join("  ").trim_end())
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_stand_under_their_headings() {
        let rows = [vec!["10.1.2.0/24".into(), "a".into()], vec!["-".into(), "b c".into()]];
        assert_eq!(table(&["subnet", "node"], &rows), "SUBNET       NODE\n10.1.2.0/24  a\n-            b c\n");
    }
}

//! The figures as a table for the terminal and as a page of the docs.

use std::fmt::Write as _;

/// All measurements.
#[derive(Default)]
pub struct Report(Vec<Part>);

/// Rows that are compared with each other.
pub struct Part {
    title: &'static str,
    unit: &'static str,
    /// What the first row is called where the others are compared with it.
    reference: Option<&'static str>,
    rows: Vec<(&'static str, Vec<f64>)>,
}

impl Report {
    /// Begins a part; with `reference` its first row is what the others are compared with.
    pub fn part(&mut self, title: &'static str, unit: &'static str, reference: Option<&'static str>) -> &mut Part {
        self.0.push(Part { title, unit, reference, rows: Vec::new() });
        self.0.last_mut().expect("it was pushed just now")
    }

    /// For a terminal.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for part in &self.0 {
            let _ = writeln!(text, "\n{}", part.title);
            for (what, values) in &part.rows {
                let [low, median, high] = spread(values);
                let _ = writeln!(text, "  {what:<62} {median:>9.2} {} ({low:.2} to {high:.2}) {}", part.unit, part.ratio(median));
            }
        }
        text
    }

    /// For the docs.
    pub fn document(&self) -> String {
        let mut text = String::from(
            "# What plugins cost\n\n\
             Written by `make bench-plugins`; change it there (tests/bench-plugins). A backend is asked about each peer once, and again only when something about that peer\n\
             changes, so these costs are paid when nodes come and go and never for a packet. Native Rust calls the very functions that the plugin is compiled from. All\n\
             ways take turns in one run; medians, and where the middle eight tenths lie.\n\n",
        );
        let _ = writeln!(text, "Measured on {}.", lab::machine::words());
        for part in &self.0 {
            let compared = part.reference.map_or(String::new(), |reference| format!(" | beside {reference}"));
            let _ = writeln!(text, "\n## {}\n\n| | median | 10 % to 90 %{compared} |", part.title);
            let _ = writeln!(text, "|---|---|---|{}", if part.reference.is_some() { "---|" } else { "" });
            for (what, values) in &part.rows {
                let [low, median, high] = spread(values);
                let ratio = if part.reference.is_some() { format!(" {} |", part.ratio(median)) } else { String::new() };
                let _ = writeln!(text, "| {what} | {median:.2} {} | {low:.2} to {high:.2} |{ratio}", part.unit);
            }
        }
        text
    }
}

impl Part {
    /// Adds what was measured of one way.
    pub fn row(&mut self, what: &'static str, values: Vec<f64>) {
        self.rows.push((what, values));
    }

    fn ratio(&self, median: f64) -> String {
        match (self.reference, self.rows.first()) {
            (Some(_), Some((_, first))) => format!("× {:.1}", median / spread(first)[1]),
            _ => String::new(),
        }
    }
}

/// The values below and above which a tenth lies, and the median between them.
fn spread(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |fraction: f64| {
        let place = (sorted.len().saturating_sub(1) as f64 * fraction).round() as usize;
        sorted.get(place).copied().unwrap_or(f64::NAN)
    };
    [at(0.1), at(0.5), at(0.9)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_compared_with_the_first_of_its_part() {
        let mut report = Report::default();
        let part = report.part("calls", "µs", Some("native"));
        part.row("native", vec![2.0, 1.0, 90.0]);
        part.row("plugin", vec![10.0, 12.0, 8.0]);
        let document = report.document();
        assert!(document.contains("| plugin | 10.00 µs | 8.00 to 12.00 | × 5.0 |"), "{document}");
        assert!(report.table().contains("× 5.0"));
    }
}

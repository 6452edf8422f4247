//! A table of measurements: median and spread of each row, its ratio to the first row of the same unit, and the bar that it must stay under.

use std::fmt;

/// Measurements of one subject.
#[derive(Debug)]
pub struct Table {
    title: String,
    rows: Vec<Row>,
}

/// One thing that was measured several times.
#[derive(Debug)]
struct Row {
    what: String,
    unit: &'static str,
    values: Vec<f64>,
    bar: Option<f64>,
}

impl Table {
    /// An empty one.
    pub fn new(title: &str) -> Table {
        Table { title: title.into(), rows: Vec::new() }
    }

    /// Adds a row; the first of its unit is the reference of the others.
    pub fn row(&mut self, what: &str, unit: &'static str, values: Vec<f64>, bar: Option<f64>) {
        self.rows.push(Row { what: what.into(), unit, values, bar });
    }

    /// True when nine of ten values of each row are within its bar.
    pub fn all_met(&self) -> bool {
        self.rows.iter().all(|row| row.bar.is_none_or(|bar| row.at(0.9) <= bar))
    }
}

impl Row {
    /// The value at this fraction of the sorted values.
    fn at(&self, fraction: f64) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let index = ((sorted.len().saturating_sub(1)) as f64 * fraction).round() as usize;
        sorted.get(index).copied().unwrap_or(f64::NAN)
    }

    fn verdict(&self) -> String {
        let Some(bar) = self.bar else { return String::new() };
        let bound = if bar == 0.0 { "none".to_owned() } else { format!("at most {bar:.0} {}", self.unit) };
        let verdict = if self.at(0.9) <= bar { "met" } else { "MISSED" };
        format!("{bound}: {verdict}")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", self.title)?;
        writeln!(f, "{:<44} {:>10} {:>21} {:>7}  bar", "", "median", "10 % to 90 %", "ratio")?;
        for row in &self.rows {
            let reference = self.rows.iter().find(|other| other.unit == row.unit).map_or(f64::NAN, |first| first.at(0.5));
            let median = format!("{:.1} {}", row.at(0.5), row.unit);
            let spread = format!("{:.1} to {:.1}", row.at(0.1), row.at(0.9));
            let ratio = Some(row.at(0.5) / reference).filter(|ratio| ratio.is_finite()).map_or("-".into(), |ratio| format!("{ratio:.2}"));
            writeln!(f, "{:<44} {median:>10} {spread:>21} {ratio:>7}  {}", row.what, row.verdict())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_of_ten_decide_over_bars() {
        let mut table = Table::new("x");
        table.row("slow once", "ms", [vec![10.0; 9], vec![900.0]].concat(), Some(300.0));
        assert!(table.all_met());
        table.row("slow twice", "ms", [vec![10.0; 8], vec![900.0; 2]].concat(), Some(300.0));
        assert!(!table.all_met());
        assert!(table.to_string().contains("MISSED"), "{table}");
    }
}

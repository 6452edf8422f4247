//! The picture of the figures: for each wire and measure a bar a way, as long as its ratio to the kernel's VXLAN.

use std::fmt::Write as _;

use crate::path::measure::{Figures, Measure, short};

/// What is drawn: where more is better.
const DRAWN: [Measure; 8] = [
    Measure::Tcp1,
    Measure::Tcp4,
    Measure::Grouped1,
    Measure::Grouped4,
    Measure::Threads4,
    Measure::Plain64,
    Measure::Singly64,
    Measure::Runs1400,
];
const COLOURS: [&str; 6] = ["#d9480f", "#495057", "#adb5bd", "#1971c2", "#2f9e44", "#9c36b5"];
const WIDTH: f64 = 860.0;
/// Where bars begin, and how long a ratio of 1 is.
const LEFT: f64 = 210.0;
const UNIT: f64 = 210.0;
const BAR: f64 = 13.0;
/// Longer bars are cut here.
const MOST: f64 = 2.8;

/// An SVG document.
pub fn draw(all: &[Figures]) -> String {
    let (mut body, mut y) = (String::new(), 24.0);
    let ways = all.first().map(Figures::ways).unwrap_or_default();
    legend(&ways, &mut body, &mut y);
    for figures in all {
        let _ = writeln!(body, r#"<text x="10" y="{:.0}" font-weight="bold">over {}</text>"#, y + 20.0, escaped(figures.wire()));
        y += 32.0;
        let top = y;
        for measure in DRAWN {
            group(figures, measure, &ways, &mut body, &mut y);
        }
        let x = LEFT + UNIT;
        let _ = writeln!(body, r##"<path d="M{x} {top:.0}V{y:.0}" stroke="#212529" stroke-dasharray="4 3"/>"##);
    }
    let height = y + 14.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\" role=\"img\">\n\
         <title>Speed of each way beside the kernel's VXLAN</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <g font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#212529\">\n{body}</g>\n</svg>\n"
    )
}

fn legend(ways: &[&str], body: &mut String, y: &mut f64) {
    let _ = writeln!(body, r#"<text x="10" y="{y:.0}">a bar is the ratio to kernel VXLAN (the dashed line)</text>"#);
    *y += 10.0;
    for (number, way) in ways.iter().enumerate() {
        let x = 10.0 + 135.0 * number as f64;
        let _ = writeln!(body, r#"<rect x="{x}" y="{y:.0}" width="12" height="12" fill="{}"/>"#, colour(number));
        let _ = writeln!(body, r#"<text x="{}" y="{:.0}">{}</text>"#, x + 17.0, *y + 10.0, escaped(way));
    }
    *y += 16.0;
}

fn group(figures: &Figures, measure: Measure, ways: &[&str], body: &mut String, y: &mut f64) {
    let Some(reference) = figures.median(measure, crate::path::measure::reference()) else { return };
    let _ = writeln!(body, r#"<text x="10" y="{:.0}">{}</text>"#, *y + 11.0, escaped(measure.label()));
    for (number, way) in ways.iter().enumerate() {
        let Some(value) = figures.median(measure, way) else { continue };
        let length = (value / reference).min(MOST) * UNIT;
        let _ = writeln!(body, r#"<rect x="{LEFT}" y="{y:.0}" width="{length:.1}" height="{}" fill="{}"/>"#, BAR - 2.0, colour(number));
        let x = LEFT + length + 5.0;
        let _ = writeln!(body, r#"<text x="{x:.1}" y="{:.0}" font-size="10">{} {}</text>"#, *y + 9.5, short(value), measure.unit());
        *y += BAR;
    }
    *y += 9.0;
}

fn colour(number: usize) -> &'static str {
    COLOURS[number % COLOURS.len()]
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

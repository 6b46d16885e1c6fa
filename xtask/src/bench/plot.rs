//! A plot as SVG: p50, p95 and the maximum of each engine, on a logarithmic scale.

use std::fmt::Write;

use super::results::Latency;

const WIDTH: f64 = 860.0;
const LABEL: f64 = 270.0;
const ROW: f64 = 22.0;
const TOP: f64 = 46.0;
const RIGHT: f64 = 40.0;
/// The scale in milliseconds: from a tenth to a minute.
const LOWEST: f64 = 0.1;
const HIGHEST: f64 = 100_000.0;

/// The latencies of all engines, one line for each table row.
pub(super) fn latencies(rows: &[Latency]) -> String {
    let mut rows: Vec<&Latency> = rows.iter().collect();
    rows.sort_by(|a, b| (&a.set, &a.want, &a.engine).cmp(&(&b.set, &b.want, &b.engine)));
    let count = f64::from(u32::try_from(rows.len()).unwrap_or(u32::MAX));
    let height = TOP + ROW * count + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{LABEL}\" y=\"16\">milliseconds: p50 (dot), p95 (bar's end), max (line); less is better</text>\n"
    );
    let mut tick = LOWEST;
    while tick <= HIGHEST * 1.001 {
        let x = position(tick);
        line(
            &mut svg,
            format_args!(
                "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{height}\" stroke=\"#dddddd\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555555\">{tick}</text>",
                TOP - 8.0
            ),
        );
        tick *= 10.0;
    }
    let mut y = TOP;
    for row in rows {
        let (p50, p95, max) =
            (position(row.times.p50), position(row.times.p95), position(row.times.max));
        let middle = y + ROW / 2.0;
        let colour = if row.engine == "Aeterna" { "#0b6e4f" } else { "#7a8ba3" };
        let start = position(LOWEST);
        line(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}: {}, {}</text>\
                 <line x1=\"{p95:.1}\" y1=\"{middle:.1}\" x2=\"{max:.1}\" y2=\"{middle:.1}\" stroke=\"{colour}\"/>\
                 <rect x=\"{start:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"12\" fill=\"{colour}\"/>\
                 <circle cx=\"{p50:.1}\" cy=\"{middle:.1}\" r=\"4\" fill=\"#ffffff\" stroke=\"#222222\"/>",
                LABEL - 8.0,
                middle + 4.0,
                row.engine,
                row.set,
                row.want,
                middle - 6.0,
                (p95 - start).max(0.0)
            ),
        );
        y += ROW;
    }
    svg.push_str("</svg>\n");
    svg
}

fn line(svg: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(svg, "{line}");
}

fn position(milliseconds: f64) -> f64 {
    let clamped = milliseconds.clamp(LOWEST, HIGHEST);
    let share = (clamped / LOWEST).log10() / (HIGHEST / LOWEST).log10();
    LABEL + share * (WIDTH - LABEL - RIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_logarithmic_and_stays_in_the_picture() {
        assert!((position(LOWEST) - LABEL).abs() < 1e-9);
        assert!((position(HIGHEST) - (WIDTH - RIGHT)).abs() < 1e-9);
        assert!((position(1e9) - (WIDTH - RIGHT)).abs() < 1e-9);
        let decade = position(1.0) - position(0.1);
        assert!((position(100.0) - position(10.0) - decade).abs() < 1e-9);
    }
}

//! A plot as SVG: of each kind of fault, how long until searches were complete again.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::figures::{Distribution, Recovery};

const WIDTH: f64 = 860.0;
const LABEL: f64 = 190.0;
const ROW: f64 = 24.0;
const TOP: f64 = 48.0;
const RIGHT: f64 = 30.0;
const TICKS: [f64; 5] = [1.0, 2.0, 5.0, 10.0, 20.0];
/// Ticks at most between 0 and the end of the scale.
const MOST_TICKS: f64 = 12.0;

/// One row a kind, one dot a fault, a line at each row's median.
pub(crate) fn recoveries(all: &[Recovery]) -> String {
    let mut rows: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for recovery in all {
        rows.entry(&recovery.fault).or_default().push(recovery.seconds);
    }
    let longest = all.iter().map(|recovery| recovery.seconds).fold(1.0, f64::max);
    let step = TICKS.into_iter().find(|step| longest / step <= MOST_TICKS).unwrap_or(60.0);
    let end = (longest / step).ceil() * step;
    let position = |seconds: f64| LABEL + seconds / end * (WIDTH - LABEL - RIGHT);
    let height = TOP + ROW * rows.len() as f64 + 12.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{LABEL}\" y=\"16\">seconds from a fault to the end of the last search that was not complete: each fault (dot), median (line)</text>\n"
    );
    let mut tick = 0.0;
    while tick <= end + step / 2.0 {
        let x = position(tick);
        line(
            &mut svg,
            format_args!(
                "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{height}\" stroke=\"#dddddd\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555555\">{tick}</text>",
                TOP - 8.0
            ),
        );
        tick += step;
    }
    let mut middle = TOP + ROW / 2.0;
    for (fault, seconds) in rows {
        let x = position(Distribution::of(seconds.clone()).p50);
        let (above, below, end) = (middle - 8.0, middle + 8.0, LABEL - 10.0);
        line(
            &mut svg,
            format_args!(
                "<text x=\"{end}\" y=\"{:.1}\" text-anchor=\"end\">{fault}</text>\
                 <line x1=\"{x:.1}\" y1=\"{above:.1}\" x2=\"{x:.1}\" y2=\"{below:.1}\" stroke=\"#222222\" stroke-width=\"2\"/>",
                middle + 4.0
            ),
        );
        for seconds in seconds {
            let x = position(seconds);
            let dot = "r=\"4\" fill=\"#0b6e4f\" fill-opacity=\"0.5\"";
            line(&mut svg, format_args!("<circle cx=\"{x:.1}\" cy=\"{middle:.1}\" {dot}/>"));
        }
        middle += ROW;
    }
    svg.push_str("</svg>\n");
    svg
}

fn line(svg: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(svg, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_a_dot_inside_the_picture() {
        let recovery = |fault: &str, seconds| Recovery {
            fault: fault.to_owned(),
            searches: 1,
            bad: 1,
            seconds,
        };
        let all = [recovery("pause", 0.0), recovery("pause", 61.5), recovery("split", 7.0)];
        let svg = recoveries(&all);
        assert_eq!(svg.matches("<circle").count(), 3);
        let places = svg.split("cx=\"").skip(1).filter_map(|rest| rest.split('"').next());
        for place in places.filter_map(|place| place.parse::<f64>().ok()) {
            assert!((LABEL..=WIDTH - RIGHT).contains(&place), "{place}");
        }
    }
}

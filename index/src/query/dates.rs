//! Dates in qualifiers: `>=2026-01-31`, `2026-01..2026-06`, `<30d`. All in UTC.

/// A span of time in seconds since 1970, from `from` on and before `to`; `None` is without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DateRange {
    /// The first second inside.
    pub from: Option<i64>,
    /// The first second after it.
    pub to: Option<i64>,
}

impl DateRange {
    /// Whether the second is inside.
    #[must_use]
    pub fn contains(&self, second: i64) -> bool {
        self.from.is_none_or(|from| from <= second) && self.to.is_none_or(|to| second < to)
    }

    /// Whether no second is inside both.
    #[must_use]
    pub fn is_disjoint(&self, other: &Self) -> bool {
        let before =
            |to: Option<i64>, from: Option<i64>| to.zip(from).is_some_and(|(to, from)| to <= from);
        before(self.to, other.from)
            || before(other.to, self.from)
            || before(self.to, self.from)
            || before(other.to, other.from)
    }

    fn since(from: i64) -> Self {
        Self { from: Some(from), to: None }
    }

    fn until(to: i64) -> Self {
        Self { from: None, to: Some(to) }
    }
}

/// What a date names: the seconds of a year, a month, a day, or one; or an age.
#[derive(Clone, Copy)]
enum Moment {
    Span { start: i64, end: i64 },
    Ago(i64),
}

/// What may be written, for error messages.
pub(super) const FORMS: &str = "`2026-01-31`, `2026-01`, `2026`, `2026-01-31T12:00:00Z`, an age \
     such as `30d` (h, d, w, m, y), `>`, `>=`, `<` or `<=` before one, or two with `..` between";

/// The range that a value of `updated:` names. `<30d` is younger than 30 days.
pub(super) fn parse_range(text: &str, now: i64) -> Option<DateRange> {
    if let Some((from, to)) = text.split_once("..") {
        return parse_between(from, to, now);
    }
    let (comparison, rest) = split_comparison(text);
    Some(match (comparison, parse_moment(rest, now)?) {
        ("", Moment::Span { start, end }) => DateRange { from: Some(start), to: Some(end) },
        (">", Moment::Span { end, .. }) => DateRange::since(end),
        (">=", Moment::Span { start, .. }) => DateRange::since(start),
        ("<", Moment::Span { start, .. }) => DateRange::until(start),
        (_, Moment::Span { end, .. }) => DateRange::until(end),
        ("" | "<" | "<=", Moment::Ago(second)) => DateRange::since(second),
        (_, Moment::Ago(second)) => DateRange::until(second),
    })
}

/// The range of `before:`, which does not include what is named.
pub(super) fn parse_before(text: &str, now: i64) -> Option<DateRange> {
    Some(DateRange::until(match parse_moment(text, now)? {
        Moment::Span { start, .. } => start,
        Moment::Ago(second) => second,
    }))
}

/// The range of `after:`, which includes what is named, as git and Sourcegraph have it.
pub(super) fn parse_after(text: &str, now: i64) -> Option<DateRange> {
    Some(DateRange::since(match parse_moment(text, now)? {
        Moment::Span { start, .. } => start,
        Moment::Ago(second) => second,
    }))
}

fn parse_between(from: &str, to: &str, now: i64) -> Option<DateRange> {
    let from = match from {
        "*" | "" => None,
        text => Some(match parse_moment(text, now)? {
            Moment::Span { start, .. } => start,
            Moment::Ago(second) => second,
        }),
    };
    let to = match to {
        "*" | "" => None,
        text => Some(match parse_moment(text, now)? {
            Moment::Span { end, .. } => end,
            Moment::Ago(second) => second,
        }),
    };
    (from.is_some() || to.is_some()).then_some(DateRange { from, to })
}

fn split_comparison(text: &str) -> (&str, &str) {
    let length = text.find(|c| !matches!(c, '<' | '>' | '=')).unwrap_or(text.len());
    let (comparison, rest) = text.split_at(length);
    match comparison {
        "" | ">" | ">=" | "<" | "<=" => (comparison, rest),
        // Not a comparison, and no date starts with it.
        _ => ("", text),
    }
}

fn parse_moment(text: &str, now: i64) -> Option<Moment> {
    parse_age(text).map(|age| Moment::Ago(now.saturating_sub(age))).or_else(|| parse_date(text))
}

fn parse_age(text: &str) -> Option<i64> {
    let unit = match text.chars().last()? {
        'h' => 3_600,
        'd' => DAY,
        'w' => 7 * DAY,
        'm' => 30 * DAY,
        'y' => 365 * DAY,
        _ => return None,
    };
    digits(&text[..text.len() - 1], 1..=6).map(|count| count * unit)
}

fn parse_date(text: &str) -> Option<Moment> {
    let (date, time) = match text.split_once(['T', 't']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = digits(parts.next()?, 4..=4)?;
    let month = parts.next().map(|part| digits(part, 2..=2));
    let day = parts.next().map(|part| digits(part, 2..=2));
    if parts.next().is_some() {
        return None;
    }
    let (start, end) = match (month, day) {
        (None, _) => (day_number(year, 1, 1)?, day_number(year + 1, 1, 1)?),
        (Some(month), None) => {
            let month = month?;
            let next = if month == 12 {
                day_number(year + 1, 1, 1)?
            } else {
                day_number(year, month + 1, 1)?
            };
            (day_number(year, month, 1)?, next)
        }
        (Some(month), Some(day)) => {
            let first = day_number(year, month?, day?)?;
            (first, first + 1)
        }
    };
    match time {
        None => Some(Moment::Span { start: start * DAY, end: end * DAY }),
        Some(time) if day.is_some() => {
            let start = start * DAY + parse_time(time)?;
            Some(Moment::Span { start, end: start + 1 })
        }
        Some(_) => None,
    }
}

/// The seconds since midnight UTC of `12:30`, `12:30:15`, `12:30:15Z` or `12:30:15+02:00`.
fn parse_time(text: &str) -> Option<i64> {
    let (clock, offset) = match text.find(['Z', 'z', '+', '-']) {
        None => (text, 0),
        Some(at) if matches!(&text[at..], "Z" | "z") => (&text[..at], 0),
        Some(at) => {
            let sign = if text[at..].starts_with('-') { -1 } else { 1 };
            (&text[..at], sign * parse_clock(text.get(at + 1..)?)?)
        }
    };
    parse_clock(clock).map(|seconds| seconds - offset)
}

fn parse_clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':').map(|part| digits(part, 2..=2));
    let hours = parts.next()??;
    let minutes = parts.next()??;
    let seconds = parts.next().unwrap_or(Some(0))?;
    let valid = hours < 24 && minutes < 60 && seconds < 61 && parts.next().is_none();
    valid.then_some(hours * 3_600 + minutes * 60 + seconds)
}

fn digits(text: &str, length: std::ops::RangeInclusive<usize>) -> Option<i64> {
    (length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

const DAY: i64 = 86_400;

/// The days from 1970-01-01 to a day of the Gregorian calendar; `None` when there is no such day.
fn day_number(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    // Years that begin in March put the leap day last: howardhinnant.github.io/date_algorithms.html
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// The month of a second since 1970, such as `2026-11`: what `updated:` takes for all of it.
pub(crate) fn month(seconds: i64) -> String {
    // Both ways are from howardhinnant.github.io/date_algorithms.html
    let shifted = seconds.div_euclid(DAY).saturating_add(719_468);
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let leaps = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leaps) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = ((5 * day_of_year + 2) / 153 + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    /// 2026-11-21 00:00:00 UTC, by `date -u -d`.
    const NOW: i64 = 1_795_219_200;

    fn range(text: &str) -> Option<(Option<i64>, Option<i64>)> {
        parse_range(text, NOW).map(|range| (range.from, range.to))
    }

    #[test]
    fn dates_name_all_of_their_seconds() {
        assert_eq!(range("2026-11-21"), Some((Some(NOW), Some(NOW + DAY))));
        assert_eq!(range("1970"), Some((Some(0), Some(365 * DAY))));
        assert_eq!(range("2024-02"), Some((Some(1_706_745_600), Some(1_706_745_600 + 29 * DAY))));
        assert_eq!(range("2025-12"), Some((Some(1_764_547_200), Some(1_764_547_200 + 31 * DAY))));
        assert_eq!(range("2026-11-21T01:00:05+01:00"), Some((Some(NOW + 5), Some(NOW + 6))));
    }

    #[test]
    fn comparisons_include_or_exclude_the_whole_day() {
        assert_eq!(range(">2026-11-21"), Some((Some(NOW + DAY), None)));
        assert_eq!(range(">=2026-11-21"), Some((Some(NOW), None)));
        assert_eq!(range("<2026-11-21"), Some((None, Some(NOW))));
        assert_eq!(range("<=2026-11-21"), Some((None, Some(NOW + DAY))));
        assert_eq!(range("1970-01-02..2026-11-21"), Some((Some(DAY), Some(NOW + DAY))));
        assert_eq!(range("*..2026-11-20"), Some((None, Some(NOW))));
        assert_eq!(range("2026-11-21..*"), Some((Some(NOW), None)));
    }

    #[test]
    fn months_are_those_that_a_range_takes() {
        assert_eq!(
            (month(0), month(-1), month(NOW)),
            ("1970-01".to_owned(), "1969-12".to_owned(), "2026-11".to_owned(),)
        );
        for day in 0..40_000 {
            let (from, to) = range(&month(day * DAY)).unwrap();
            assert!(from.unwrap() <= day * DAY && day * DAY < to.unwrap(), "{day}");
        }
    }

    #[test]
    fn ages_count_back_from_now() {
        assert_eq!(range("<30d"), Some((Some(NOW - 30 * DAY), None)));
        assert_eq!(range("30d"), Some((Some(NOW - 30 * DAY), None)));
        assert_eq!(range(">2w"), Some((None, Some(NOW - 14 * DAY))));
        assert_eq!(range("7d..24h"), Some((Some(NOW - 7 * DAY), Some(NOW - DAY))));
        assert_eq!(parse_before("1d", NOW), Some(DateRange::until(NOW - DAY)));
        assert_eq!(parse_after("2026-11-21", NOW), Some(DateRange::since(NOW)));
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-13",
            "2026-02-29",
            "2026-1-1",
            "26-01-01",
            "<>2026",
            "=2026",
            "..",
            "*..*",
            "2026-01-01T25:00",
            "2026T10:00",
            "d",
            "-3d",
            "9999999d",
            "é",
            "2026-01-01T10:00:00+é",
            "2026..x",
        ] {
            assert_eq!(range(text), None, "{text}");
        }
    }

    #[test]
    fn disjoint_ranges_have_no_second_in_common() {
        let early = DateRange::until(10);
        let late = DateRange::since(10);
        assert!(early.is_disjoint(&late) && late.is_disjoint(&early));
        assert!(!early.is_disjoint(&DateRange::since(9)));
        assert!(early.contains(9) && !early.contains(10) && late.contains(10));
    }
}

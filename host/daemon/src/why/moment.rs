//! Moments as people write them: "10:31", "10:31:07", "2026-11-28T10:31:07Z", "5m ago" or "5m", and seconds since the Unix epoch. All are UTC.

/// Milliseconds of a day.
const DAY: u64 = 86_400_000;

/// A moment in milliseconds since the Unix epoch, seen from `now_ms`; a time of day is the last one that has come.
///
/// # Errors
/// The text is no moment.
pub fn moment(text: &str, now_ms: u64) -> Result<u64, String> {
    let text = text.trim();
    let found = clock(text)
        .map(|of_day| last_time_of_day(of_day, now_ms))
        .or_else(|| date(text))
        .or_else(|| ago(text, now_ms))
        .or_else(|| epoch(text));
    found.ok_or_else(|| {
        format!("\"{text}\" is no moment such as 10:31, 2026-11-28T10:31:00Z, \"5m ago\", or seconds since 1970; times are UTC")
    })
}

fn last_time_of_day(of_day: u64, now_ms: u64) -> u64 {
    let today = now_ms - now_ms % DAY + of_day;
    if today > now_ms { today.saturating_sub(DAY) } else { today }
}

/// "10:31" or "10:31:07" in milliseconds of the day.
fn clock(text: &str) -> Option<u64> {
    let parts: Vec<u64> = text.trim_end_matches('Z').split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let (hours, minutes, seconds) = match parts[..] {
        [hours, minutes] => (hours, minutes, 0),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        _ => return None,
    };
    (hours < 24 && minutes < 60 && seconds < 60).then_some(((hours * 60 + minutes) * 60 + seconds) * 1_000)
}

/// RFC 3339 without an offset other than Z.
fn date(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', ' '])?;
    let parts: Vec<i64> = date.split('-').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [year, month, day] = parts[..] else { return None };
    if !(1_970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    u64::try_from(days(year, month, day)).ok().zip(clock(time)).map(|(days, of_day)| days * DAY + of_day)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have the leap day last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_year = year * 365 + year / 4 - year / 100 + year / 400;
    let before_month = (153 * month + 2) / 5;
    before_year + before_month + day - 1 - 719_468
}

/// "5m ago" or "5m".
fn ago(text: &str, now_ms: u64) -> Option<u64> {
    let span = crate::settings::duration(text.strip_suffix("ago").unwrap_or(text).trim()).ok()?;
    u64::try_from(span.as_millis()).ok().map(|span| now_ms.saturating_sub(span))
}

fn epoch(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().and_then(|seconds| seconds.checked_mul(1_000))
}

/// A moment as RFC 3339 has it, to the millisecond.
pub fn words(at_ms: u64) -> String {
    let (days, of_day) = (at_ms / DAY, at_ms % DAY);
    // The other way round, by eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year_of_era + era * 400 + later;
    let (seconds, ms) = (of_day / 1_000, of_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-28T10:31:07.250Z, by `date -u +%s`.
    const NOW: u64 = 1_795_861_867_250;

    #[test]
    fn moments_are_read_as_people_write_them() {
        for (text, wanted) in [
            ("10:31", "2026-11-28T10:31:00.000Z"),
            ("10:31:07", "2026-11-28T10:31:07.000Z"),
            ("11:00", "2026-11-27T11:00:00.000Z"),
            ("2026-11-28T10:31:07Z", "2026-11-28T10:31:07.000Z"),
            ("2024-02-29 23:59", "2024-02-29T23:59:00.000Z"),
            ("5m ago", "2026-11-28T10:26:07.250Z"),
            ("1h30m", "2026-11-28T09:01:07.250Z"),
            ("0", "1970-01-01T00:00:00.000Z"),
            ("1795861867", "2026-11-28T10:31:07.000Z"),
        ] {
            assert_eq!(words(moment(text, NOW).expect(text)), wanted, "{text}");
        }
        for bad in ["", "soon", "25:00", "10:61", "2026-13-01T10:00", "2026-11-28", "10:31:07:12", "-5"] {
            assert!(moment(bad, NOW).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_day_of_two_centuries_goes_round() {
        for day in 0..73_000 {
            let text = words(day * DAY);
            assert_eq!(date(&text.replace(".000", "")), Some(day * DAY), "{text}");
        }
    }
}

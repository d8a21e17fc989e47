//! The one clock: wall time that never jumps within a process.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::timeline::At;

static START: LazyLock<(Instant, u128)> = LazyLock::new(|| {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (Instant::now(), wall.as_micros())
});

/// Now: the wall clock at the first call, plus the time that has passed since.
pub fn now() -> At {
    let (start, wall) = *START;
    At(u64::try_from(wall + start.elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// How long ago that was.
pub fn elapsed(since: At) -> Duration {
    Duration::from_micros(now().0.saturating_sub(since.0))
}

/// Microseconds as seconds.
pub fn micros(micros: u64) -> f64 {
    At(micros).since(At(0))
}

/// `2026-11-25T18:30:00Z`.
pub fn rfc3339(at: At) -> String {
    let seconds = at.0 / 1_000_000;
    let (year, month, day) = civil(seconds / 86_400);
    let (h, m, s) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}Z")
}

/// Reads the form that Kubernetes writes: UTC, with or without a fraction.
pub fn parse_rfc3339(text: &str) -> Option<At> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut time = time.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (h, m, s) = (time.next()??, time.next()??, time.next()??);
    let micros: u64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let days = days(year, month, day)?;
    Some(At((((days * 24 + h) * 60 + m) * 60 + s) * 1_000_000 + micros))
}

/// Year, month and day of a number of days since 1970 (after Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let mp = (5 * of_year + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (era * 400 + year + u64::from(month <= 2), month, of_year - (153 * mp + 2) / 5 + 1)
}

/// The inverse, for dates from 1970 on.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let y = year - u64::from(month <= 2);
    let (era, of_era) = (y / 400, y % 400);
    let mp = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * mp + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_as_they_print() {
        for text in ["1970-01-01T00:00:00Z", "2024-02-29T23:59:59Z", "2026-11-25T18:30:01Z"] {
            assert_eq!(rfc3339(parse_rfc3339(text).unwrap()), text);
        }
        assert_eq!(parse_rfc3339("1970-01-01T00:00:01.5Z"), Some(At(1_500_000)));
        assert_eq!(parse_rfc3339("1970-01-02T00:00:00.123456789Z"), Some(At(86_400_123_456)));
        for bad in ["", "1970-01-01", "1970-13-01T00:00:00Z", "x-01-01T00:00:00Z"] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_clock_runs_forward() {
        let (a, b) = (now(), now());
        assert!(a <= b && a > parse_rfc3339("2024-01-01T00:00:00Z").unwrap());
    }
}

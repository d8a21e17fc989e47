//! Moments as the registry writes them: RFC 3339 in UTC, with microseconds or without.

/// Days from 0000-03-01 to 1970-01-01, in the calendar that begins its years in March.
const EPOCH: u64 = 719_468;
const DAYS_OF_ERA: u64 = 146_097;
const SECOND: u64 = 1_000_000;

/// A moment, in microseconds since 1970.
pub fn rfc3339(micros: u64) -> String {
    let (seconds, micros) = (micros / SECOND, micros % SECOND);
    let days = seconds / 86_400 + EPOCH;
    let (era, of_era) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..10 => (era * 400 + year, month + 3),
        _ => (era * 400 + year + 1, month - 9),
    };
    let (h, m, s) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{micros:06}Z")
}

/// Microseconds since 1970 of such a text; `None` if it is none.
pub fn micros(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(digits);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut time = time.splitn(3, ':').map(digits);
    let (h, m, s) = (time.next()??, time.next()??, time.next()??);
    let fits = (1970..10_000).contains(&year) && (1..=12).contains(&month);
    if !fits || !(1..=31).contains(&day) || h > 23 || m > 59 || s > 60 || fraction.len() > 6 {
        return None;
    }
    let fraction = if fraction.is_empty() { 0 } else { digits(&format!("{fraction:0<6}"))? };
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * DAYS_OF_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    let seconds = days.checked_sub(EPOCH)? * 86_400 + h * 3_600 + m * 60 + s;
    Some(seconds * SECOND + fraction)
}

fn digits(text: &str) -> Option<u64> {
    let all = !text.is_empty() && text.len() < 9 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        // As `date -u -d @SECONDS` says it.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000007Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000007Z"),
            (1_772_323_200, "2026-03-01T00:00:00.000007Z"),
        ] {
            assert_eq!(rfc3339(seconds * SECOND + 7), text);
        }
    }

    #[test]
    fn what_is_no_moment_is_not_read() {
        assert_eq!(micros("2026-03-01T00:00:00Z"), Some(1_772_323_200 * SECOND));
        assert_eq!(micros("2026-03-01T00:00:00.5Z"), Some(1_772_323_200 * SECOND + 500_000));
        for text in ["", "t1", "2026-03-01", "2026-03-01T00:00:00+01:00", "2026-13-01T00:00:00Z"] {
            assert_eq!(micros(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(moment in 0..250_000_000_000_000_000u64) {
            prop_assert_eq!(micros(&rfc3339(moment)), Some(moment));
        }

        #[test]
        fn any_text_ends_well(text in "\\PC{0,40}") {
            let _ = micros(&text);
        }
    }
}

//! `30s`, `500ms`, `2m`, `1h`, or a number of seconds.

use std::time::Duration;

/// As a flag or a setting has it.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is not a duration such as 30s, 500ms or 2m");
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    Duration::try_from_secs_f64(number * factor).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        assert_eq!(parse("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("7"), Ok(Duration::from_secs(7)));
        for bad in ["", "s", "-1s", "soon", "5 parsec", "1e999h"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

//! Numbers written by `%` and `format()`: what both have in common.

/// Digits of a float in the manner of `f`, `e` or `g`, without a sign.
pub(super) fn float_digits(magnitude: f64, letter: char, precision: usize, alternate: bool) -> String {
    if magnitude.is_nan() {
        return cased("nan", letter);
    }
    if magnitude.is_infinite() {
        return cased("inf", letter);
    }
    let digits = match letter.to_ascii_lowercase() {
        'f' => with_point(format!("{magnitude:.precision$}"), alternate),
        'e' => exponential(magnitude, precision, alternate),
        _ => general(magnitude, precision.max(1), alternate),
    };
    cased(&digits, letter)
}

fn cased(digits: &str, letter: char) -> String {
    if letter.is_ascii_uppercase() { digits.to_ascii_uppercase() } else { digits.to_owned() }
}

fn with_point(mut digits: String, alternate: bool) -> String {
    if alternate && !digits.contains('.') {
        digits.push('.');
    }
    digits
}

fn exponential(magnitude: f64, precision: usize, alternate: bool) -> String {
    let (mantissa, exponent) = mantissa_and_exponent(magnitude, precision);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", with_point(mantissa, alternate), exponent.abs())
}

fn mantissa_and_exponent(magnitude: f64, precision: usize) -> (String, i32) {
    let text = format!("{magnitude:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (mantissa.to_owned(), exponent.parse().unwrap_or(0))
}

fn general(magnitude: f64, precision: usize, alternate: bool) -> String {
    let (mantissa, exponent) = mantissa_and_exponent(magnitude, precision - 1);
    let significant = i32::try_from(precision).unwrap_or(i32::MAX);
    let trim = |digits: String| {
        if alternate || !digits.contains('.') {
            return with_point(digits, alternate);
        }
        digits.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    if (-4..significant).contains(&exponent) {
        let decimals = usize::try_from(significant - 1 - exponent).unwrap_or(0);
        return trim(format!("{magnitude:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
}

/// The digits of an integer in the base that a letter means, without a sign.
pub(super) fn int_digits(magnitude: u128, letter: char) -> String {
    match letter {
        'x' => format!("{magnitude:x}"),
        'X' => format!("{magnitude:X}"),
        'o' => format!("{magnitude:o}"),
        'b' => format!("{magnitude:b}"),
        _ => magnitude.to_string(),
    }
}

//! The signal that an image wants to be ended by: a name or a number, as in its configuration.

/// By their numbers on every machine that Linux calls generic; the first is 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// What programs are left of the real-time signals; the C library keeps the two before.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// The number of a signal; `None` where there is no such signal.
pub(super) fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse() {
        return (1..=*REAL_TIME.end()).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign)?.parse::<i32>().ok(),
    };
    let real_time = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest, '+')?.checked_add(*REAL_TIME.start())
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        REAL_TIME.end().checked_sub(offset(rest, '-')?)
    } else {
        let place = NAMES.iter().position(|known| *known == name)?;
        return i32::try_from(place + 1).ok();
    };
    real_time.filter(|number| REAL_TIME.contains(number))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn signals_are_names_with_or_without_sig_and_numbers() {
        for (text, signal) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("SIGINT", Some(2)),
            ("SIGQUIT", Some(3)),
            ("SIGWINCH", Some(28)),
            ("9", Some(9)),
            ("SIGRTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGRTMAX-1", Some(63)),
            ("SIGRTMIN+31", None),
            ("SIGRTMIN-1", None),
            ("SIGRTMIN+2147483647", None),
            ("0", None),
            ("65", None),
            ("-1", None),
            ("SIGNOTHING", None),
            ("", None),
        ] {
            assert_eq!(number(text), signal, "{text:?}");
        }
    }

    #[test]
    fn the_names_are_the_kernels() {
        for (name, signal) in [("TERM", rustix::process::Signal::TERM), ("SYS", rustix::process::Signal::SYS)]
        {
            assert_eq!(number(name), Some(signal.as_raw()));
        }
    }
}

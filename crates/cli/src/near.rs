//! Names that somebody may have meant.

/// How alike two names must be, from 0 to 1.
const ALIKE: f64 = 0.75;
/// How many names are offered.
const OFFERED: usize = 3;

/// The names that are most like `wanted`, the likeliest first.
pub fn near<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let likeness = |name: &str| {
        let (wanted, name) = (wanted.to_lowercase(), name.to_lowercase());
        let part = !wanted.is_empty() && name.contains(&wanted);
        strsim::jaro_winkler(&wanted, &name).max(if part { ALIKE } else { 0.0 })
    };
    let mut alike: Vec<(f64, &str)> =
        names.into_iter().map(|name| (likeness(name), name)).filter(|(likeness, _)| *likeness >= ALIKE).collect();
    alike.sort_by(|(one, first), (two, second)| two.total_cmp(one).then(first.cmp(second)));
    alike.into_iter().take(OFFERED).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_parts_find_the_name() {
        let names = ["daily_report", "hourly", "ingest_orders", "ingest_users"];
        assert_eq!(near("daily_reprot", names), ["daily_report"]);
        assert_eq!(near("orders", names), ["ingest_orders"]);
        assert_eq!(near("Ingest_user", names), ["ingest_users", "ingest_orders"]);
        assert!(near("xyz", names).is_empty());
    }
}

//! All runs of a timetable between two moments, whether they were ever made or not.

use jiff::Timestamp;

use super::{NextRun, Restriction, Timetable};

impl Timetable {
    /// Runs whose logical dates are not before `earliest` nor after `latest`, in order (Airflow's
    /// `iter_dagrun_infos_between`). A timetable that does not go on from one run to a later one ends it.
    pub fn between(
        &self,
        earliest: Option<Timestamp>,
        latest: Timestamp,
        now: Timestamp,
    ) -> impl Iterator<Item = NextRun> + '_ {
        let restriction = Restriction { earliest, latest: Some(latest), catchup: true };
        let mut last: Option<NextRun> = None;
        std::iter::from_fn(move || {
            let next = self.next_run(last.map(|last| last.data_interval), &restriction, now)?;
            if last.is_some_and(|last| next.run_after <= last.run_after) {
                return None;
            }
            last = Some(next);
            Some(next)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_run_is_given_once_and_in_order() {
        let name = "airflow.timetables.trigger.CronTriggerTimetable";
        let data = json!({"expression": "0 6 * * *", "timezone": "UTC", "interval": 0.0, "run_immediately": false});
        let daily = Timetable::from_serialized(name, &data).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let dates = |from: &str, to: &str| -> Vec<String> {
            let runs = daily.between(Some(at(from)), at(to), at("2030-01-01T00:00:00Z"));
            runs.map(|run| run.logical_date().to_string()).collect()
        };
        assert_eq!(
            dates("2026-01-01T06:00:00Z", "2026-01-03T06:00:00Z"),
            ["2026-01-01T06:00:00Z", "2026-01-02T06:00:00Z", "2026-01-03T06:00:00Z"]
        );
        assert_eq!(dates("2026-01-01T06:00:01Z", "2026-01-02T05:59:59Z"), Vec::<String>::new());
        assert_eq!(dates("2026-01-03T00:00:00Z", "2026-01-01T00:00:00Z"), Vec::<String>::new());
        let now = at("2026-01-01T00:00:00Z");
        assert_eq!(Timetable::Null.between(Some(now), now, now).count(), 0);
        assert!(Timetable::Once.between(Some(now), now, now).count() <= 1);
        assert!(Timetable::Continuous.between(Some(now), now, now).count() <= 1);
    }
}

"""Timetables that only Python can evaluate: one that makes runs, one that raises, one that hangs."""

import os
import time
from datetime import timedelta

from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.base import DagRunInfo, DataInterval, Timetable


def path(name):
    return os.path.join(os.environ["AIRFLOW_HOME"], name)


class Workdays(Timetable):
    """Every day but those of the weekend, with ids of its own."""

    description = "On workdays"

    def __init__(self, prefix):
        self.prefix = prefix

    @property
    def summary(self):
        return f"Workdays {self.prefix}"

    def serialize(self):
        return {"prefix": self.prefix}

    @classmethod
    def deserialize(cls, data):
        return cls(data["prefix"])

    def infer_manual_data_interval(self, *, run_after):
        if run_after.year < 2000:
            raise ValueError("there was no calendar then")
        return DataInterval(run_after - timedelta(days=1), run_after)

    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        last = last_automated_data_interval
        if last is not None and last.start.day == 8:
            with open(path("asked"), "a") as asked:
                asked.write("once\n")
            while os.path.exists(path("hold")):
                time.sleep(0.02)
        start = restriction.earliest if last is None else last.end
        while start.weekday() >= 5:
            start += timedelta(days=1)
        if start > restriction.latest:
            return None
        return DagRunInfo.interval(start, start + timedelta(days=1))

    def generate_run_id(self, *, run_type, run_after, data_interval, **rest):
        return f"{self.prefix}_{run_type.value}_{data_interval.start:%Y-%m-%d}"


class Raises(Workdays):
    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        raise ValueError("there is no calendar")


class Hangs(Workdays):
    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        time.sleep(3600)


class ByHand(Workdays):
    """Makes no runs by itself: a Dag without an end has a latest date only in backfills."""

    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        if restriction.latest is None:
            return None
        return super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction
        )


class Endless(Workdays):
    """Minutes, whatever the restriction says."""

    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        last = last_automated_data_interval
        start = restriction.earliest if last is None else last.end
        return DagRunInfo.interval(start, start + timedelta(minutes=1))


class OwnTimetables(AirflowPlugin):
    name = "own_timetables"
    timetables = [Workdays, Raises, Hangs, ByHand, Endless]

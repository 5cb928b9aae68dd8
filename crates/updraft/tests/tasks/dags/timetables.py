"""Dags by timetables of a plugin."""

from datetime import datetime, timezone

from own_timetables import Hangs, Raises, Workdays

from airflow.sdk import DAG, task


def dag(dag_id, schedule):
    # From a Friday to a Wednesday.
    start, end = datetime(2024, 1, 5, tzinfo=timezone.utc), datetime(2024, 1, 10, tzinfo=timezone.utc)
    with DAG(dag_id, schedule=schedule, start_date=start, end_date=end, catchup=True, max_active_runs=2):

        @task
        def says(data_interval_start=None, data_interval_end=None):
            return f"{data_interval_start:%m-%d} to {data_interval_end:%m-%d}"

        says()


dag("workdays", Workdays("own"))
dag("raises", Raises("bad"))
dag("hangs", Hangs("slow"))

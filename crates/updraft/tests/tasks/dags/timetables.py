"""Dags by timetables of a plugin."""

from datetime import datetime, timezone

from own_timetables import ByHand, Endless, Hangs, Raises, Workdays

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, task


# From a Friday to a Wednesday.
start, end = datetime(2024, 1, 5, tzinfo=timezone.utc), datetime(2024, 1, 10, tzinfo=timezone.utc)


def dag(dag_id, schedule, end=end):
    with DAG(dag_id, schedule=schedule, start_date=start, end_date=end, catchup=True, max_active_runs=2):

        @task
        def says(data_interval_start=None, data_interval_end=None):
            return f"{data_interval_start:%m-%d} to {data_interval_end:%m-%d}"

        says()


dag("workdays", Workdays("own"))
dag("raises", Raises("bad"))
dag("hangs", Hangs("slow"))
dag("by_hand", ByHand("hand"), end=None)
dag("endless", Endless("no"))

with DAG("asks", schedule=None):
    wanted = {"in_time": "2024-03-02T12:00:00+00:00", "too_early": "1999-03-02T12:00:00+00:00"}
    for name, logical_date in wanted.items():
        TriggerDagRunOperator(task_id=name, trigger_dag_id="by_hand", trigger_run_id=name, logical_date=logical_date)

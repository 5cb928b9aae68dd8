"""Very many tasks that wait at once for the same moment, which the run's conf gives."""
from datetime import datetime

from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import DAG

for count in (500, 5_000):
    with DAG(f"deferred{count}", start_date=datetime(2024, 1, 1), schedule=None, max_active_tasks=64):
        moments = ["{{ dag_run.conf['moment'] }}"] * count
        DateTimeSensorAsync.partial(task_id="waits", end_from_trigger=True, do_xcom_push=False).expand(target_time=moments)

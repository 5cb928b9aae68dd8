# The SDK's own timetable of events can't be serialized by Airflow 3.3.2; the one of `airflow.timetables` can.
import datetime

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, EventsTimetable

with DAG("sdk_events", schedule=EventsTimetable([datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)])):
    EmptyOperator(task_id="a")

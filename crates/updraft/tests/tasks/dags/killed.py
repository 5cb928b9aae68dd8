"""What is disturbed by processes that are killed."""

import time
from datetime import datetime, timezone

from own_timetables import Workdays
from own_triggers import Own

from airflow.sdk import DAG, BaseOperator, task


class Defers(BaseOperator):
    def execute(self, context):
        self.defer(trigger=Own("payload", more="told"), method_name="after")

    def after(self, context, event):
        return event["given"]["more"]


with DAG("adds", max_active_runs=20):

    @task
    def one():
        time.sleep(0.2)
        return 1

    @task
    def add(x, y):
        time.sleep(0.2)
        return x + y

    add.override(task_id="three")(add.override(task_id="two")(one(), 1), 1)

with DAG("defers", max_active_runs=20):
    Defers(task_id="after")

start, end = datetime(2024, 1, 5, tzinfo=timezone.utc), datetime(2024, 1, 10, tzinfo=timezone.utc)
with DAG("dated", schedule=Workdays("own"), start_date=start, end_date=end, catchup=True, max_active_runs=1):

    @task
    def says():
        time.sleep(0.5)

    says()

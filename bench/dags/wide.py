"""Wide maps: what one task with very many instances costs."""
from datetime import datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task

START = datetime(2024, 1, 1)

with DAG("map10000_bash", start_date=START, schedule=None, max_active_tasks=64):
    BashOperator.partial(task_id="b", do_xcom_push=False).expand(bash_command=["true"] * 10_000)

with DAG("map500_python", start_date=START, schedule=None, max_active_tasks=64):

    @task
    def double(number):
        return number * 2

    double.expand(number=list(range(500)))

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

import datetime

with DAG(
    "end_before_start", schedule="@daily", start_date=datetime.datetime(2024, 2, 1), end_date=datetime.datetime(2024, 1, 1)
):
    EmptyOperator(task_id="a")

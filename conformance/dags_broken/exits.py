from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

import sys

with DAG("exits", schedule=None):
    EmptyOperator(task_id="fine")

sys.exit("leaving")

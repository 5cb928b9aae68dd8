from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("long" * 70, schedule=None):
    EmptyOperator(task_id="fine")

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("negative_slots", schedule=None):
    EmptyOperator(task_id="a", pool_slots=0)

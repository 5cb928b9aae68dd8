from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("ignored_by_pattern", schedule=None):
    EmptyOperator(task_id="a")

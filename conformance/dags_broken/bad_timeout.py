from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("bad_timeout", schedule=None):
    EmptyOperator(task_id="a", execution_timeout=5)

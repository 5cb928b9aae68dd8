from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("bad_default_args", schedule=None, default_args=["owner"]):
    EmptyOperator(task_id="fine")

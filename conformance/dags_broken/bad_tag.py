from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("bad_tag", schedule=None, tags=["x" * 101]):
    EmptyOperator(task_id="fine")

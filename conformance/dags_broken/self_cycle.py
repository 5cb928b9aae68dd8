from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("self_cycle", schedule=None):
    a = EmptyOperator(task_id="a")
    a >> a

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("bad_param", schedule=None, params={"n": Param("three", type="integer")}):
    EmptyOperator(task_id="fine")

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("scheduled_without_default", schedule="@daily", params={"n": Param(type="integer")}):
    EmptyOperator(task_id="fine")

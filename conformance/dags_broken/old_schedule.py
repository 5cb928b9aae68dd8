from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("old_schedule", schedule_interval="@daily"):
    EmptyOperator(task_id="fine")

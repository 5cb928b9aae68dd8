from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("continuous_many", schedule="@continuous", max_active_runs=3):
    EmptyOperator(task_id="a")

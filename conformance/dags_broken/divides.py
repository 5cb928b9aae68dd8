from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("divides_first", schedule=None):
    EmptyOperator(task_id="fine")

nothing = 1 / 0

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("teardown_rule", schedule=None):
    EmptyOperator(task_id="a", trigger_rule="all_done_setup_success")

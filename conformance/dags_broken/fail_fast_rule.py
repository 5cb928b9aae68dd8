from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("fail_fast_rule", schedule=None, fail_fast=True):
    EmptyOperator(task_id="a", trigger_rule="all_done")

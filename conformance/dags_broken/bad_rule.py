from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("bad_rule", schedule=None):
    EmptyOperator(task_id="a", trigger_rule="most_of_them")

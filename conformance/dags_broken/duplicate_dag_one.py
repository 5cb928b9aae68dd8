from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("duplicate_dag", schedule=None, description="twice in one file"):
    EmptyOperator(task_id="a")
with DAG("duplicate_dag", schedule=None):
    EmptyOperator(task_id="b")

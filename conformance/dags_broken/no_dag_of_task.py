from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("no_dag_of_task", schedule=None):
    a = EmptyOperator(task_id="a")
a >> EmptyOperator(task_id="b")

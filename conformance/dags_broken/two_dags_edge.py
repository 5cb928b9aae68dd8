from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("edge_from", schedule=None):
    a = EmptyOperator(task_id="a")
with DAG("edge_to", schedule=None):
    b = EmptyOperator(task_id="b")
a >> b

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("unknown_argument", schedule=None):
    BashOperator(task_id="a", bash_command="true", colour="red")

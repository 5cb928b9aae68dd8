from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

from package.values import VALUE

with DAG("in_a_package", schedule=None, description=VALUE):
    EmptyOperator(task_id="a")

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("cycle", schedule=None):
    a, b, c = EmptyOperator(task_id="a"), EmptyOperator(task_id="b"), EmptyOperator(task_id="c")
    a >> b >> c >> a

with DAG("beside_a_cycle", schedule=None):
    EmptyOperator(task_id="fine")

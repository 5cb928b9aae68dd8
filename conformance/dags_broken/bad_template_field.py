from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

class Odd(EmptyOperator):
    template_fields = ("not_there",)


with DAG("bad_template_field", schedule=None):
    Odd(task_id="a")

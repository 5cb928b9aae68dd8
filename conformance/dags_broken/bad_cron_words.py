from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG("bad_cron_words", schedule="every now and then"):
    EmptyOperator(task_id="fine")

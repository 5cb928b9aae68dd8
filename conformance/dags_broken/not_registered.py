from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

dag = DAG("without_with", schedule=None)
EmptyOperator(task_id="a", dag=dag)
quiet = DAG("not_auto_registered", schedule=None, auto_register=False)

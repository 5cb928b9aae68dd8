# A Dag file that isn't Python.
from airflow.sdk import DAG

with DAG("broken_syntax":
    pass

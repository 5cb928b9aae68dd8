import no_such_module_anywhere
from airflow.sdk import DAG

DAG("broken_no_module", schedule=None)

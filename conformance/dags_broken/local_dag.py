from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

def hidden():
    # Nobody calls this, and a Dag that no name holds isn't found unless it registers itself.
    with DAG("never_made", schedule=None):
        EmptyOperator(task_id="a")


def called():
    with DAG("made_in_a_function", schedule=None):
        EmptyOperator(task_id="a")


called()

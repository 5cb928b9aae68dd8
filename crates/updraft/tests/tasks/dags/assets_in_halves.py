"""Two producers, and a Dag that waits for both."""

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Asset, task

x, y = Asset("x"), Asset("y")

for name, asset in {"first": x, "second": y}.items():
    with DAG(name, schedule=None):
        BashOperator(task_id="bash", bash_command="true", outlets=[asset])

with DAG("both", schedule=x & y):

    @task
    def told(*, dag_run):
        return [event.asset.name for event in dag_run.consumed_asset_events]

    told()

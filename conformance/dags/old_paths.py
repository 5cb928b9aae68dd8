"""Import paths of earlier versions that Airflow 3.3 still takes."""

from __future__ import annotations

import warnings

from shared_helpers import START

warnings.simplefilter("ignore")

from airflow import DAG  # noqa: E402
from airflow.decorators import task, task_group  # noqa: E402
from airflow.exceptions import AirflowSkipException  # noqa: E402
from airflow.models import Variable  # noqa: E402, F401
from airflow.models.baseoperator import chain  # noqa: E402
from airflow.models.param import Param  # noqa: E402
from airflow.operators.bash import BashOperator  # noqa: E402
from airflow.operators.empty import EmptyOperator  # noqa: E402
from airflow.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator  # noqa: E402
from airflow.sensors.python import PythonSensor  # noqa: E402
from airflow.utils.edgemodifier import Label  # noqa: E402
from airflow.utils.task_group import TaskGroup  # noqa: E402
from airflow.utils.trigger_rule import TriggerRule  # noqa: E402

with DAG("old_paths", schedule=None, start_date=START, tags=["own"], params={"n": Param(1, type="integer")}):

    @task
    def decorated(params=None):
        return params["n"]

    @task_group
    def group():
        EmptyOperator(task_id="inside")

    def skip():
        raise AirflowSkipException

    with TaskGroup("old_group") as old_group:
        EmptyOperator(task_id="inside")
    pick = BranchPythonOperator(task_id="pick", python_callable=lambda: "bash")
    bash = BashOperator(task_id="bash", bash_command="echo bash")
    python = PythonOperator(task_id="python", python_callable=skip)
    circuit = ShortCircuitOperator(task_id="circuit", python_callable=lambda: True)
    sensor = PythonSensor(task_id="sensor", python_callable=lambda: True, poke_interval=0.2)
    chain(decorated(), group(), pick)
    pick >> Label("yes") >> bash
    pick >> python
    [bash, python] >> EmptyOperator(task_id="join", trigger_rule=TriggerRule.NONE_FAILED) >> circuit >> sensor >> old_group

"""A Dag that has the same run of another one run again and again."""

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, task

with DAG("again"):

    @task
    def counts(ti=None, dag_run=None):
        print("try", ti.try_number, "with", dag_run.conf)

    counts()

options = {"trigger_dag_id": "again", "trigger_run_id": "the_same", "reset_dag_run": True, "poke_interval": 1}
with DAG("resets"):
    first = TriggerDagRunOperator(task_id="first", conf={"n": 1}, wait_for_completion=True, **options)
    second = TriggerDagRunOperator(task_id="second", conf={"n": 2}, wait_for_completion=True, **options)
    third = TriggerDagRunOperator(task_id="third", conf={"n": 3}, wait_for_completion=True, deferrable=True, **options)
    # Without the reset it is an error.
    fails = TriggerDagRunOperator(task_id="fails", **{**options, "reset_dag_run": False})
    first >> second >> third >> fails

"""What a task keeps for its later tries, through the Task SDK."""

import os
from datetime import timedelta

from airflow.sdk import DAG, task
from airflow.sdk.execution_time.context import NEVER_EXPIRE

with DAG("task_states"):

    @task(retries=1, retry_delay=timedelta(0))
    def resumes(task_state_store=None, ti=None):
        if ti.try_number == 1:
            assert task_state_store.get("job", default="none") == "none"
            task_state_store.set("job", {"id": 7, "pages": [1, 2]}, retention=NEVER_EXPIRE)
            task_state_store.set("with/slash", "x")
            task_state_store.set("gone", 1)
            task_state_store.delete("gone")
            task_state_store.delete("never was")
            os._exit(3)
        assert task_state_store.get("gone") is None
        assert task_state_store.get("with/slash") == "x"
        return task_state_store.get("job")

    @task
    def has_its_own(number, task_state_store=None):
        assert task_state_store.get("job") is None
        task_state_store.set("job", number)
        task_state_store.set("other", number)
        seen = task_state_store.get("job")
        if number == 1:
            task_state_store.clear()
            assert task_state_store.get("job") is None
        return seen

    @task
    def refuses(task_state_store=None):
        from airflow.sdk.exceptions import AirflowRuntimeError

        try:
            task_state_store.set("k" * 513, 1)
        except AirflowRuntimeError as error:
            return "512" in str(error)

    resumes() >> has_its_own.expand(number=[0, 1]) >> refuses()

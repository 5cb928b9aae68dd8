"""Tries, and what each of them sees of the ones before."""

from __future__ import annotations

import datetime

from shared_helpers import NOW, START, fail

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException

TINY = datetime.timedelta(milliseconds=50)


def dag(name, **options):
    return DAG(f"retries_{name}", schedule=None, start_date=START, tags=["own", "retries"], **options)


def second_try(ti):
    if ti.try_number < 2:
        fail()
    return [ti.try_number, ti.max_tries]


def third_try(ti):
    if ti.try_number < 3:
        fail()
    return ti.try_number


with dag("counts"):
    PythonOperator(task_id="second", python_callable=second_try, retries=1, retry_delay=NOW) >> EmptyOperator(
        task_id="after_second"
    )
    PythonOperator(task_id="third", python_callable=third_try, retries=5, retry_delay=TINY)
    PythonOperator(task_id="exhausted", python_callable=fail, retries=2, retry_delay=NOW) >> EmptyOperator(
        task_id="after_exhausted"
    )
    PythonOperator(task_id="none", python_callable=fail, retries=0)
    PythonOperator(task_id="not_needed", python_callable=lambda: 1, retries=4)
    EmptyOperator(task_id="empty", retries=3)
    BashOperator(
        task_id="bash",
        bash_command="echo {{ ti.try_number }} of {{ ti.max_tries + 1 }}; [ {{ ti.try_number }} = 2 ]",
        retries=1,
        retry_delay=NOW,
    )
    BashOperator(task_id="bash_exhausted", bash_command="exit 5", retries=1, retry_delay=NOW)
    BashOperator(task_id="bash_skip", bash_command="exit 99", retries=2, retry_delay=NOW)

with dag("defaults", default_args={"retries": 1, "retry_delay": NOW}):
    PythonOperator(task_id="from_default_args", python_callable=fail)
    PythonOperator(task_id="own", python_callable=fail, retries=0)
    PythonOperator(task_id="seconds", python_callable=second_try, retry_delay=datetime.timedelta(seconds=0.2))

with dag("exponential"):
    PythonOperator(
        task_id="doubling",
        python_callable=third_try,
        retries=2,
        retry_delay=TINY,
        retry_exponential_backoff=True,
    )
    PythonOperator(
        task_id="bounded",
        python_callable=third_try,
        retries=2,
        retry_delay=datetime.timedelta(seconds=1),
        retry_exponential_backoff=True,
        max_retry_delay=datetime.timedelta(seconds=1),
    )
    PythonOperator(
        task_id="exhausted", python_callable=fail, retries=1, retry_delay=TINY, retry_exponential_backoff=True
    )

with dag("give_up"):

    @task(retries=4, retry_delay=NOW)
    def give_up_on_second(ti=None):
        if ti.try_number == 2:
            raise AirflowFailException("enough")
        fail()

    give_up_on_second() >> EmptyOperator(task_id="after", trigger_rule="one_failed")

with dag("xcom_is_cleared"):

    @task(retries=1, retry_delay=NOW)
    def pushes(ti=None):
        left = ti.xcom_pull(task_ids="pushes", key="left_behind")
        if ti.try_number == 1:
            ti.xcom_push(key="left_behind", value="from the first try")
            fail()
        return {"left": left}

    pushes()

with dag("downstream_waits"):
    # Nothing below runs, and no other rule fires, before the last try.
    retried = PythonOperator(task_id="retried", python_callable=second_try, retries=1, retry_delay=TINY)
    retried >> EmptyOperator(task_id="one_failed", trigger_rule="one_failed")
    retried >> EmptyOperator(task_id="all_done", trigger_rule="all_done")
    retried >> EmptyOperator(task_id="none_failed", trigger_rule="none_failed")

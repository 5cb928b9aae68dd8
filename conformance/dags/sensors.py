"""Sensors that poke and that come back, with small intervals.

A sensor that comes back after less than three seconds fails on a busy Airflow, which mixes up its processes."""

from __future__ import annotations

import datetime
import pathlib
import tempfile

from shared_helpers import NOW, START

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.providers.standard.sensors.bash import BashSensor
from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
from airflow.providers.standard.sensors.weekday import DayOfWeekSensor
from airflow.sdk import DAG, BaseSensorOperator, PokeReturnValue, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

EVERY = {"poke_interval": 0.2}


def dag(name, **options):
    return DAG(f"sensors_{name}", schedule=None, start_date=START, tags=["own", "sensors"], **options)


def counter(context):
    name = f"own-{context['dag'].dag_id}-{context['task'].task_id}-{context['run_id']}".replace("/", "_")
    return pathlib.Path(tempfile.gettempdir()) / name


def third_time(**context):
    """Holds the third time that it is asked, in whatever process that is."""
    path = counter(context)
    asked = int(path.read_text() if path.exists() else 0) + 1
    path.write_text(str(asked))
    if asked < 3:
        return False
    path.unlink()
    return True


with dag("poke"):
    PythonSensor(task_id="at_once", python_callable=lambda: True, **EVERY) >> EmptyOperator(task_id="after")
    PythonSensor(task_id="third", python_callable=third_time, **EVERY)
    PythonSensor(task_id="timeout", python_callable=lambda: False, timeout=1, **EVERY) >> EmptyOperator(
        task_id="after_timeout"
    )
    PythonSensor(
        task_id="soft", python_callable=lambda: False, timeout=1, soft_fail=True, **EVERY
    ) >> EmptyOperator(task_id="after_soft")
    PythonSensor(
        task_id="timeout_is_final", python_callable=lambda: False, timeout=1, retries=2, retry_delay=NOW, **EVERY
    )
    PythonSensor(task_id="arguments", python_callable=lambda a, b: a == b, op_args=["{{ 1 + 1 }}", "2"], **EVERY)
    PythonSensor(task_id="backoff", python_callable=third_time, poke_interval=0.1, exponential_backoff=True)

with dag("reschedule"):
    options = {"mode": "reschedule", "poke_interval": 3}
    PythonSensor(task_id="at_once", python_callable=lambda: True, **options)
    PythonSensor(task_id="third", python_callable=third_time, **options) >> EmptyOperator(task_id="after")
    PythonSensor(task_id="timeout", python_callable=lambda: False, timeout=4, **options) >> EmptyOperator(
        task_id="after_timeout"
    )
    PythonSensor(
        task_id="soft", python_callable=lambda: False, timeout=4, soft_fail=True, **options
    ) >> EmptyOperator(task_id="after_soft")

with dag("errors"):

    def raises():
        raise RuntimeError("no")

    def raises_skip():
        raise AirflowSkipException("skip")

    def raises_fail():
        raise AirflowFailException("fail")

    PythonSensor(task_id="error", python_callable=raises, retries=1, retry_delay=NOW, **EVERY)
    PythonSensor(task_id="soft_error", python_callable=raises, soft_fail=True, **EVERY)
    PythonSensor(task_id="skip", python_callable=raises_skip, **EVERY)
    PythonSensor(task_id="fail", python_callable=raises_fail, retries=3, **EVERY)
    PythonSensor(task_id="soft_fail_exception", python_callable=raises_fail, soft_fail=True, **EVERY)
    PythonSensor(task_id="never_fail", python_callable=raises, never_fail=True, **EVERY)
    PythonSensor(
        task_id="never_fail_timeout", python_callable=lambda: False, timeout=1, never_fail=True, **EVERY
    )
    PythonSensor(
        task_id="silent", python_callable=raises, silent_fail=True, timeout=1, **EVERY
    ) >> EmptyOperator(task_id="after_silent")

with dag("bash"):
    BashSensor(task_id="true", bash_command="true", **EVERY)
    BashSensor(task_id="template", bash_command="[ {{ ti.task_id }} = template ]", **EVERY)
    BashSensor(task_id="false", bash_command="false", timeout=1, **EVERY)
    BashSensor(task_id="environment", bash_command='[ "$X" = 1 ]', env={"X": "1"}, **EVERY)
    BashSensor(task_id="retry_code", bash_command="exit 7", retry_exit_code=7, timeout=1, **EVERY)
    BashSensor(task_id="other_code", bash_command="exit 8", retry_exit_code=7, timeout=5, **EVERY)

with dag("values"):

    @task.sensor(poke_interval=0.2, timeout=20, mode="poke")
    def returns_value():
        return PokeReturnValue(is_done=True, xcom_value={"a": 1})

    @task.sensor(poke_interval=3, timeout=20, mode="reschedule")
    def rescheduled_value():
        return PokeReturnValue(is_done=True, xcom_value="came back")

    @task.sensor(poke_interval=0.2, timeout=20)
    def returns_true():
        return True

    @task
    def use(value):
        return value

    use(returns_value())
    rescheduled_value()
    returns_true()

    class Countdown(BaseSensorOperator):
        """Counts within one process."""

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.left = 3

        def poke(self, context):
            self.left -= 1
            return PokeReturnValue(is_done=self.left == 0, xcom_value=f"left {self.left}")

    Countdown(task_id="countdown", **EVERY)

with dag("others"):
    DayOfWeekSensor(
        task_id="any_day",
        week_day=["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
        **EVERY,
    )
    TimeDeltaSensor(task_id="time_delta", delta=datetime.timedelta(seconds=0.5), **EVERY)
    make = PythonOperator(
        task_id="make_file",
        python_callable=lambda ti: pathlib.Path(f"/tmp/own-{ti.dag_id}").write_text("x"),
    )
    there = FileSensor(task_id="file", filepath="/tmp/own-sensors_others", fs_conn_id="own_files", **EVERY)
    gone = PythonOperator(
        task_id="remove_file", python_callable=lambda: pathlib.Path("/tmp/own-sensors_others").unlink()
    )
    make >> there >> gone
    FileSensor(task_id="no_file", filepath="/tmp/own-no-such-file", fs_conn_id="own_files", timeout=1, **EVERY)

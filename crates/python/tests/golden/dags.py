"""A spread of Dags, for golden files of Airflow's serializer. Each has its own corner of the form."""

from datetime import datetime, timedelta, timezone

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import BranchPythonOperator, ShortCircuitOperator
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.sdk import DAG, Asset, BaseOperator, Label, Param, TaskGroup, setup, task, teardown

PARIS = pendulum.timezone("Europe/Paris")


def callback(context):
    pass


with DAG("plain"):
    EmptyOperator(task_id="only")

with DAG(
    "full",
    dag_display_name="All of it",
    description="Every field that a Dag has",
    schedule="30 6 * * 1-5",
    start_date=datetime(2026, 1, 1, 12, 30, 15, 250000, tzinfo=PARIS),
    end_date=datetime(2027, 1, 1, tzinfo=timezone.utc),
    catchup=True,
    max_active_runs=3,
    max_active_tasks=7,
    max_consecutive_failed_dag_runs=2,
    dagrun_timeout=timedelta(hours=1, milliseconds=500),
    fail_fast=True,
    tags=["zebra", "apple"],
    is_paused_upon_creation=False,
    on_success_callback=callback,
    on_failure_callback=[callback],
    default_args={"owner": "somebody", "retries": 2},
    params={
        "text": "plain",
        "number": Param(5, type="integer", minimum=1, description="how many"),
        "nothing": Param(None, type=["null", "string"]),
        "when": Param("2026-01-01T00:00:00+00:00", type="string", format="date-time"),
        "nested": {"a": [1, {"b": None}], "set": ["x"]},
    },
):
    EmptyOperator(
        task_id="everything",
        task_display_name="With a name",
        owner="me",
        email=["a@example.com", "b@example.com"],
        start_date=datetime(2026, 2, 1, tzinfo=timezone.utc),
        end_date=datetime(2026, 3, 1, tzinfo=timezone.utc),
        depends_on_past=True,
        ignore_first_depends_on_past=True,
        wait_for_past_depends_before_skipping=True,
        retries=9,
        retry_delay=timedelta(seconds=1, microseconds=500),
        retry_exponential_backoff=3,
        max_retry_delay=timedelta(minutes=2),
        execution_timeout=timedelta(days=1),
        pool="swimming",
        pool_slots=2,
        queue="fast",
        priority_weight=42,
        weight_rule="absolute",
        max_active_tis_per_dag=5,
        max_active_tis_per_dagrun=6,
        do_xcom_push=False,
        params={"own": "x", "text": "mine"},
    )
    EmptyOperator(task_id="waits", wait_for_downstream=True, retries=None, retry_exponential_backoff=True)
    EmptyOperator(task_id="upstream_weight", weight_rule="upstream", email="c@example.com", priority_weight=-3)

with DAG("daily_delta", schedule=timedelta(hours=6), start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    EmptyOperator(task_id="a") >> Label("to") >> EmptyOperator(task_id="b", trigger_rule="one_failed")

with DAG("once", schedule="@once", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    EmptyOperator(task_id="a")

with DAG("continuous", schedule="@continuous", max_active_runs=1, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    EmptyOperator(task_id="a")

with DAG("by_asset", schedule=[Asset("in"), Asset("x://in2")]):
    EmptyOperator(task_id="makes", outlets=[Asset("out")])
    EmptyOperator(task_id="reads", inlets=[Asset("in")])

with DAG("commands", params={"word": "hello", "needed": Param(type="string")}):
    BashOperator(task_id="simple", bash_command="echo {{ ds }}")
    BashOperator(
        task_id="all_args",
        bash_command="echo {{ params.word }}",
        env={"A": "{{ run_id }}", "B": "plain"},
        append_env=True,
        cwd="/tmp/{{ ds_nodash }}",
        skip_on_exit_code=[3, 99],
    )
    BashOperator(task_id="never_skips", bash_command="true", skip_on_exit_code=None)
    BashOperator(task_id="range", bash_command="true", skip_on_exit_code=range(3))
    BashOperator(task_id="by_python", bash_command="echo {{ dag.get_task('simple') }}")
    BashOperator(task_id="encoding", bash_command="true", output_encoding="latin-1")
    BashOperator(task_id="processor", bash_command="true", output_processor=lambda text: text.upper())
    BashOperator(task_id="callback", bash_command="true", on_success_callback=callback)
    BashOperator(task_id="numbers_in_env", bash_command="true", env={"N": 1})
    BashOperator(task_id="user", bash_command="true", run_as_user="nobody")
    BashOperator(task_id="pre", bash_command="true", pre_execute=callback)
    BashOperator(task_id="outlets", bash_command="true", outlets=[Asset("made")])
    BashOperator.partial(task_id="mapped").expand(bash_command=["echo 1", "echo 2"])

    @task.bash
    def decorated():
        return "echo 1"

    decorated()

    class Sub(BashOperator):
        pass

    Sub(task_id="subclass", bash_command="true")

with DAG("macros_of_its_own", user_defined_macros={"twice": lambda text: text * 2}):
    BashOperator(task_id="command", bash_command="echo 1")

with DAG("native_objects", render_template_as_native_obj=True, disable_bundle_versioning=True):
    BashOperator(task_id="command", bash_command="echo 1")
    EmptyOperator(task_id="empty_with_callback", on_execute_callback=callback)

with DAG("groups"):
    start = EmptyOperator(task_id="start")
    with TaskGroup("outer", default_args={"retries": 4}) as outer:
        first = EmptyOperator(task_id="first")
        with TaskGroup("inner", prefix_group_id=False):
            EmptyOperator(task_id="bare_name")
        first >> EmptyOperator(task_id="last")
    start >> outer >> EmptyOperator(task_id="end")

with DAG("branches"):

    @task.branch
    def choose():
        return "left"

    @task(multiple_outputs=True)
    def left() -> dict:
        return {"a": 1}

    choose() >> [left(), EmptyOperator(task_id="right")] >> EmptyOperator(
        task_id="join", trigger_rule="none_failed_min_one_success"
    )
    BranchPythonOperator(task_id="classic", python_callable=callback)
    ShortCircuitOperator(task_id="short", python_callable=callback)
    PythonSensor(task_id="sensor", python_callable=callback, mode="reschedule", poke_interval=10, timeout=60)

with DAG("setups"):

    @setup
    def make():
        pass

    @teardown(on_failure_fail_dagrun=True)
    def destroy():
        pass

    made = make()
    destroyed = destroy()
    made >> EmptyOperator(task_id="work") >> destroyed
    made >> destroyed

with DAG("mapping"):

    @task(retries=3, pool="other")
    def double(x, y):
        return x * y

    double.partial(y=2).expand(x=[1, 2, 3])

    class Custom(BaseOperator):
        template_fields = ("value",)
        ui_color = "#123456"

        def __init__(self, value, **kwargs):
            super().__init__(**kwargs)
            self.value = value

    Custom.partial(task_id="classic", retry_delay=timedelta(seconds=7), trigger_rule="all_done").expand(value=["a", "b"])
    Custom(task_id="odd_values", value={"date": datetime(2026, 1, 1), "set": {1}, "tuple": (1, 2)})

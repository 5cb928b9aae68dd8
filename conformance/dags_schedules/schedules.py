"""Dags that run by themselves. Most are over long ago: a start and an end date make their runs the same every day.

Their ids start with `cron_`, `delta_`, `other_` or `past_`; record_schedules.py unpauses all of them and writes down what runs.
"""

from __future__ import annotations

import datetime

import pendulum

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.datetime import BranchDateTimeOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.latest_only import LatestOnlyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.providers.standard.operators.weekday import BranchDayOfWeekOperator
from airflow.sdk import (
    DAG,
    CronDataIntervalTimetable,
    CronTriggerTimetable,
    DeltaDataIntervalTimetable,
    DeltaTriggerTimetable,
    MultipleCronTriggerTimetable,
    task,
)
from airflow.timetables.events import EventsTimetable


def day(number, month=1, hour=0, minute=0, tz="UTC"):
    return pendulum.datetime(2024, month, number, hour, minute, tz=tz)


DAY = datetime.timedelta(days=1)
FIRST_DAYS = {"start_date": day(1), "end_date": day(4)}


def schedule(name, timetable, *, catchup=True, **options):
    return DAG(name, schedule=timetable, catchup=catchup, is_paused_upon_creation=True, tags=["schedules"], **options)


def simple(name, timetable, **options):
    with schedule(name, timetable, **options):
        EmptyOperator(task_id="only")


simple("cron_daily", "@daily", **FIRST_DAYS)
simple("cron_one_at_a_time", "@daily", max_active_runs=1, **FIRST_DAYS)
simple("cron_hourly_off_the_dot", "20 * * * *", start_date=day(1, hour=10, minute=30), end_date=day(1, hour=13))
simple("cron_weekly", "0 6 * * 1", start_date=day(1), end_date=day(22, hour=6))
simple("cron_monthly_last", "0 0 31 * *", start_date=day(1), end_date=day(1, month=6))
simple("cron_leap_day", "0 12 29 2 *", start_date=day(1), end_date=day(1, month=12))
simple("cron_no_catchup_over", "@daily", catchup=False, **FIRST_DAYS)
simple("cron_no_catchup", "@daily", catchup=False, start_date=day(1))
simple("cron_future", "@daily", start_date=datetime.datetime(2199, 1, 1, tzinfo=datetime.timezone.utc))
simple("cron_naive_start", "@daily", start_date=datetime.datetime(2024, 1, 1), end_date=datetime.datetime(2024, 1, 2))
simple("cron_never", None, start_date=day(1))

PRAGUE = {"tz": "Europe/Prague"}
simple("cron_spring", "30 2 * * *", start_date=day(30, 3, **PRAGUE), end_date=day(2, 4, **PRAGUE))
simple("cron_autumn", "30 2 * * *", start_date=day(26, 10, **PRAGUE), end_date=day(29, 10, **PRAGUE))
simple(
    "cron_hourly_spring", "0 * * * *", start_date=day(31, 3, hour=0, **PRAGUE), end_date=day(31, 3, hour=4, **PRAGUE)
)
simple(
    "cron_hourly_autumn",
    "*/30 * * * *",
    start_date=day(27, 10, hour=1, minute=30, **PRAGUE),
    end_date=day(27, 10, hour=3, minute=30, **PRAGUE),
)

simple("cron_interval", CronDataIntervalTimetable("0 6 * * *", timezone="UTC"), **FIRST_DAYS)
simple(
    "cron_interval_spring",
    CronDataIntervalTimetable("0 2 * * *", timezone="Europe/Prague"),
    start_date=day(30, 3, **PRAGUE),
    end_date=day(2, 4, **PRAGUE),
)
simple("cron_interval_no_catchup", CronDataIntervalTimetable("@daily", timezone="UTC"), catchup=False, start_date=day(1))
simple("cron_trigger", CronTriggerTimetable("0 6 * * *", timezone="Asia/Kolkata", interval=DAY), **FIRST_DAYS)
simple(
    "cron_several",
    MultipleCronTriggerTimetable("0 6 * * *", "30 18 * * *", timezone="UTC"),
    start_date=day(1),
    end_date=day(2, hour=20),
)

simple("delta_six_hours", datetime.timedelta(hours=6), start_date=day(1), end_date=day(1, hour=20))
simple("delta_interval", DeltaDataIntervalTimetable(DAY), **FIRST_DAYS)
simple("delta_trigger", DeltaTriggerTimetable(DAY, interval=DAY), **FIRST_DAYS)
simple("delta_odd_start", DeltaDataIntervalTimetable(datetime.timedelta(hours=7)), start_date=day(1, hour=3, minute=15), end_date=day(2))
simple("delta_spring", DAY, start_date=day(30, 3, hour=12, **PRAGUE), end_date=day(1, 4, hour=12, **PRAGUE))

simple("other_once", "@once", start_date=day(1))
simple("other_once_no_start", "@once", catchup=False)
simple("other_once_future", "@once", start_date=datetime.datetime(2199, 1, 1, tzinfo=datetime.timezone.utc))
simple("other_continuous", "@continuous", start_date=day(1), max_active_runs=1)
simple(
    "other_events",
    EventsTimetable([day(5), day(2), day(9, hour=12)], restrict_to_events=False, description="odd days"),
    start_date=day(1),
    end_date=day(10),
)

with schedule("past_dates", "0 6 * * *", max_active_runs=1, start_date=day(1), end_date=day(3, hour=6)):
    for name in (
        "ds ds_nodash ts ts_nodash ts_nodash_with_tz logical_date data_interval_start data_interval_end "
        "prev_data_interval_start_success prev_data_interval_end_success run_id"
    ).split():
        BashOperator(task_id=name, bash_command="echo '{{ " + name + " }}'")
    BashOperator(task_id="macros", bash_command="echo {{ macros.ds_add(ds, 1) }} {{ logical_date | ds_nodash }}")
    BashOperator(task_id="shifted", bash_command="echo {{ (logical_date - macros.timedelta(days=1)).strftime('%d.%m.') }}")
    BashOperator(task_id="pendulum", bash_command="echo {{ data_interval_end.add(months=1).to_date_string() }} {{ logical_date.day_of_week }}")

with schedule(
    "past_interval_dates",
    CronDataIntervalTimetable("0 6 * * *", timezone="Europe/Prague"),
    max_active_runs=1,
    start_date=day(1, **PRAGUE),
    end_date=day(3, **PRAGUE),
):
    BashOperator(
        task_id="dates",
        bash_command=(
            "echo '{{ ds }} {{ ts }} {{ data_interval_start }} {{ data_interval_end }} "
            "{{ prev_data_interval_start_success }} {{ prev_data_interval_end_success }}'"
        ),
    )

with schedule("past_xcom", "@daily", max_active_runs=1, **FIRST_DAYS):

    @task
    def own(ti=None):
        return str(ti.xcom_pull(task_ids="own", include_prior_dates=True))

    @task
    def today(ds=None):
        return ds

    @task
    def days(ti=None):
        return [ti.xcom_pull(task_ids="today", include_prior_dates=prior) for prior in (False, True)]

    @task
    def previous(ti=None):
        run = ti.get_previous_dagrun()
        other = ti.get_previous_dagrun(state="success")
        return [run and run.run_id, other and other.run_id]

    own()
    today() >> days() >> previous()


def fails_on_second(ds):
    if ds == "2024-01-02":
        raise ValueError("the second day fails")
    return ds


with schedule("past_depends", "@daily", default_args={"depends_on_past": True}, **FIRST_DAYS):
    PythonOperator(task_id="second_fails", python_callable=fails_on_second) >> EmptyOperator(task_id="after")
    EmptyOperator(task_id="beside")

with schedule("past_independent", "@daily", max_active_runs=2, **FIRST_DAYS):
    PythonOperator(task_id="second_fails", python_callable=fails_on_second) >> EmptyOperator(task_id="after")

with schedule("past_wait_for_downstream", "@daily", **FIRST_DAYS):
    EmptyOperator(task_id="first", wait_for_downstream=True) >> PythonOperator(
        task_id="second_fails", python_callable=fails_on_second
    )

with schedule("past_gives_up", "@daily", max_active_runs=1, max_consecutive_failed_dag_runs=2, **FIRST_DAYS):
    PythonOperator(task_id="fails", python_callable=lambda: 1 / 0)

with schedule("past_latest_only", "@daily", max_active_runs=1, **FIRST_DAYS):
    LatestOnlyOperator(task_id="latest") >> EmptyOperator(task_id="after") >> EmptyOperator(
        task_id="anyway", trigger_rule="all_done"
    )

with schedule("past_branches", "@daily", max_active_runs=1, **FIRST_DAYS):
    BranchDateTimeOperator(
        task_id="until_the_second",
        target_lower=datetime.datetime(2024, 1, 1),
        target_upper=datetime.datetime(2024, 1, 2),
        follow_task_ids_if_true="early",
        follow_task_ids_if_false="late",
        use_task_logical_date=True,
    ) >> [EmptyOperator(task_id="early"), EmptyOperator(task_id="late")]
    BranchDayOfWeekOperator(
        task_id="weekday",
        week_day={"Tuesday", "Thursday"},
        follow_task_ids_if_true="tuesday",
        follow_task_ids_if_false="other_day",
        use_task_logical_date=True,
    ) >> [EmptyOperator(task_id="tuesday"), EmptyOperator(task_id="other_day")]

with schedule("past_task_dates", "@daily", max_active_runs=1, **FIRST_DAYS):
    EmptyOperator(task_id="from_third", start_date=day(3)) >> EmptyOperator(task_id="after")
    EmptyOperator(task_id="until_second", end_date=day(2))
    PythonOperator(task_id="whole_time", python_callable=lambda ds: ds)

from datetime import timedelta

from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator


class Waits(BaseOperator):
    """Defers itself twice, and wants everything back that it left behind."""

    def execute(self, context):
        context["ti"].xcom_push("before", "kept")
        kwargs = {"given": [1, {"a": timedelta(seconds=3)}]}
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=1)), method_name="halfway", kwargs=kwargs)

    def halfway(self, context, given, event=None):
        assert given == [1, {"a": timedelta(seconds=3)}], given
        assert event.tzinfo is not None, event
        kwargs = {"first": event}
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=1)), method_name="go_on", kwargs=kwargs)

    def go_on(self, context, first, event=None):
        ti = context["ti"]
        assert event - first >= timedelta(seconds=1), (first, event)
        # That of the process that began, not of the one that ends.
        assert ti.start_date < first, (ti.start_date, first)
        assert ti.xcom_pull(task_ids=self.task_id, key="before") == "kept"
        return f"try {ti.try_number}"


class NeverFires(BaseOperator):
    def execute(self, context):
        trigger = TimeDeltaTrigger(timedelta(days=1))
        self.defer(trigger=trigger, method_name="never", timeout=timedelta(seconds=1))

    def never(self, context, event=None):
        raise AssertionError("the trigger has not fired")


with DAG("waiting"):
    soon = "{{ macros.datetime.now(macros.dateutil.tz.UTC) + macros.timedelta(seconds=2) }}"
    DateTimeSensorAsync(task_id="moment", target_time=soon)
    DateTimeSensorAsync(task_id="moment_that_ends", target_time=soon, end_from_trigger=True)
    TimeDeltaSensor(task_id="delta", delta=timedelta(seconds=12), deferrable=True)
    Waits(task_id="waits")
    NeverFires(task_id="never_fires", retries=1, retry_delay=timedelta(0))

import os
from datetime import datetime, timedelta, timezone

import own_triggers
from airflow.providers.standard.triggers.file import FileTrigger
from airflow.sdk import DAG, BaseOperator, task
from airflow.triggers.base import BaseTrigger, StartTriggerArgs


class Gone(BaseTrigger):
    """A class that is not there any more when the trigger is to run."""

    def serialize(self):
        return ("own_triggers.Gone", {})

    async def run(self):
        yield


class WrongArguments(Gone):
    def serialize(self):
        return ("own_triggers.Own", {"nonsense": 1})


class Defers(BaseOperator):
    def __init__(self, trigger, check=None, wait=None, **kwargs):
        super().__init__(**kwargs)
        self.trigger, self.check, self.wait = trigger, check, wait

    def execute(self, context):
        self.defer(trigger=self.trigger, method_name="go_on", kwargs={"kept": (1, 2)}, timeout=self.wait)

    def go_on(self, context, kept, event=None):
        assert kept == (1, 2), kept
        if self.check:
            self.check(event)
        return event


def check_payload(event):
    # What MessagePack makes of a time span on the way from the trigger: so it arrives on Airflow, too.
    wanted = {"more": {"a": [1, "PT2S"]}}
    assert event["given"] == wanted, event
    assert event["at"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc), event
    assert event["list"] == [1, [2, None]], event
    assert event["map_index"] == -1, event


def check_answers(event):
    assert event == ["stored", "default"], event


with DAG("triggers"):
    own = own_triggers.Own
    Defers(task_id="payload", trigger=own("payload", more={"a": [1, timedelta(seconds=2)]}), check=check_payload)
    Defers(task_id="asks", trigger=own("asks"), check=check_answers)
    Defers(task_id="file", trigger=FileTrigger(os.environ["AIRFLOW_HOME"] + "/there", poke_interval=0.2))
    Defers(task_id="raises", trigger=own("raises"), retries=1, retry_delay=timedelta(0))
    Defers(task_id="falls_silent", trigger=own("falls_silent"))
    Defers(task_id="unsendable", trigger=own("unsendable"))
    Defers(task_id="gone", trigger=Gone())
    Defers(task_id="wrong_arguments", trigger=WrongArguments())
    Defers(task_id="success", trigger=own("success"))
    Defers(task_id="failed", trigger=own("failed"))
    Defers(task_id="skipped", trigger=own("skipped"))
    Defers(task_id="times_out", trigger=FileTrigger("/nowhere", poke_interval=0.2), wait=timedelta(seconds=2))
    Defers(
        task_id="kills_the_runner",
        trigger=own("kills_the_runner", flag=os.environ["AIRFLOW_HOME"] + "/killed"),
    )

    @task
    def numbers():
        return [1, 2, 3]

    @task
    def total(values):
        return sum(values)

    class Mapped(BaseOperator):
        def __init__(self, number, **kwargs):
            super().__init__(**kwargs)
            self.number = number

        def execute(self, context):
            self.defer(trigger=own("payload", number=self.number), method_name="go_on")

        def go_on(self, context, event=None):
            assert event["map_index"] == context["ti"].map_index, event
            return event["given"]["number"] * 10

    total(Mapped.partial(task_id="mapped").expand(number=numbers()).output)

    class StartsFromTrigger(BaseOperator):
        """Begins with its trigger, and has a process only afterwards."""

        template_fields = ("how", "more")
        start_from_trigger = True

        def __init__(self, how, more=None, **kwargs):
            super().__init__(**kwargs)
            self.how, self.more = how, more
            self.start_trigger_args = StartTriggerArgs(
                trigger_cls="own_triggers.Own",
                trigger_kwargs={"how": how, "more": more},
                next_method="go_on",
                next_kwargs={"kept": 7},
            )

        def execute(self, context):
            raise AssertionError("it begins with its trigger")

        def go_on(self, context, kept, event=None):
            assert kept == 7, kept
            assert event["given"]["more"] == "starts", event
            return "went on"

    StartsFromTrigger(task_id="starts", how="payload", more="{{ task.task_id }}")
    StartsFromTrigger(task_id="starts_and_ends", how="success", retries=1)
    StartsFromTrigger(task_id="starts_and_fails", how="raises", retries=1, retry_delay=timedelta(0))

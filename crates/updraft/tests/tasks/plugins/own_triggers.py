import asyncio
import os
import signal
from datetime import datetime, timezone
from pathlib import Path

from airflow.sdk import Connection, Variable
from airflow.triggers.base import BaseTrigger, TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent


class Own(BaseTrigger):
    """Waits for nothing, and does what `how` says."""

    def __init__(self, how, **more):
        super().__init__()
        self.how = how
        self.given = more

    @property
    def more(self):
        return self.given.get("more")

    @more.setter
    def more(self, value):
        self.given["more"] = value

    def serialize(self):
        return ("own_triggers.Own", {"how": self.how, **self.given})

    async def run(self):
        await asyncio.sleep(0.1)
        async for event in getattr(self, self.how)():
            yield event

    async def payload(self):
        self.log.info("this is said by the trigger of %s", self.task_instance.task_id)
        moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
        yield TriggerEvent({"given": self.given, "at": moment, "list": [1, (2, None)], "map_index": self.task_instance.map_index})

    async def asks(self):
        yield TriggerEvent([await asyncio.to_thread(Variable.get, "from_store"), Variable.get("none", "default")])

    async def raises(self):
        raise ValueError("no luck in the trigger")
        yield

    async def falls_silent(self):
        return
        yield

    async def unsendable(self):
        yield TriggerEvent(object())

    async def success(self):
        yield TaskSuccessEvent(xcoms={"return_value": "of the trigger"})

    async def failed(self):
        yield TaskFailedEvent()

    async def skipped(self):
        yield TaskSkippedEvent()

    async def kills_the_runner(self):
        flag = Path(self.given["flag"])
        if not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield TriggerEvent("survived")

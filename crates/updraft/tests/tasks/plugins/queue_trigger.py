"""A trigger on a message queue, which is a folder of files here: what is acknowledged is deleted, and comes no more."""

import asyncio
import os
import pathlib

from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import SharedStreamProducer


class Producer(SharedStreamProducer):
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    async def open_stream(self):
        (self.folder / "pid").write_text(str(os.getpid()))
        sent = set()
        while True:
            for path in sorted(self.folder.glob("*.message")):
                if path.name not in sent:
                    sent.add(path.name)
                    yield path.stem, path
            await asyncio.sleep(0.05)

    async def advance(self, batch):
        for item in batch:
            item.broker_payload.unlink()


class QueueTrigger(BaseEventTrigger):
    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def serialize(self):
        return "queue_trigger.QueueTrigger", {"folder": self.folder}

    def shared_stream_key(self):
        return ("queue", self.folder)

    @classmethod
    def create_shared_stream_producer(cls, kwargs):
        return Producer(kwargs["folder"])

    async def filter_shared_stream(self, shared_stream):
        async for name in shared_stream:
            yield TriggerEvent({"message": name})

    async def run(self):
        yield TriggerEvent("never")

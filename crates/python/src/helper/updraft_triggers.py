"""The official trigger runner, in a child of the helper. The engine is its supervisor."""

from airflow.jobs.triggerer_job_runner import TriggerEventEntry, TriggerRunner
from airflow.sdk.execution_time.comms import _new_encoder
from airflow.sdk.serde import serialize
from airflow.triggers.base import BaseTaskEndEvent, TriggerEvent
from msgspec import msgpack


class Runner(TriggerRunner):
    """Encodes the payloads of events as Airflow's supervisor does it when it writes them down."""

    def process_trigger_events(self, finished_ids):
        wanted = list(self.events)
        self.events.clear()
        for trigger_id, event, persist_seq in wanted:
            try:
                event = encoded(event)
            except Exception as error:
                # What the runner does where a payload can't be sent.
                self.log.error(
                    "Trigger returned a result that can't be serialized; its task will be failed.",
                    trigger_id=trigger_id,
                    result=repr(event),
                )
                self.failed_triggers.append((trigger_id, error))
            else:
                self.events.append(TriggerEventEntry(trigger_id, event, persist_seq))
        return super().process_trigger_events(finished_ids)


def encoded(event):
    """The event with what becomes of its payload on the way to the task: sent to another process, then serialized."""
    if isinstance(event, BaseTaskEndEvent):
        return event
    sent = msgpack.decode(_new_encoder().encode(event.payload))
    return TriggerEvent(serialize(sent))


def main():
    Runner().run()

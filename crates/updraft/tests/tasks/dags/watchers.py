"""Dags that run when something outside happens. FOLDER is put in by the test."""

from airflow.providers.standard.triggers.file import FileDeleteTrigger
from airflow.sdk import DAG, Asset, AssetWatcher, task
from airflow.triggers.base import BaseEventTrigger

from queue_trigger import QueueTrigger


class Lost(BaseEventTrigger):
    """The trigger runner does not find this class."""

    def serialize(self):
        return "no_such_module.Lost", {}

    async def run(self):
        yield


def watched(dag_id, *assets):
    schedule = assets[0]
    for asset in assets[1:]:
        schedule |= asset
    with DAG(dag_id, schedule=schedule):

        @task
        def told(triggering_asset_events=None):
            return sorted(
                [event.asset.name, event.extra] for events in triggering_asset_events.values() for event in events
            )

        told()


file = FileDeleteTrigger(filepath="FOLDER/flag", poke_interval=0.1)
queue = QueueTrigger("FOLDER/queue")
watched("on_file", Asset("a_file", watchers=[AssetWatcher(name="flag", trigger=file)]))
watched(
    "on_queue",
    Asset("one", watchers=[AssetWatcher(name="first", trigger=queue)]),
    Asset("two", watchers=[AssetWatcher(name="second", trigger=queue)]),
)
watched("on_nothing", Asset("lost", watchers=[AssetWatcher(name="lost", trigger=Lost())]))

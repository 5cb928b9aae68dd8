"""A mapper and a window that only Python knows."""

from datetime import timedelta

from airflow.partition_mappers.base import PartitionMapper
from airflow.partition_mappers.window import Window
from airflow.plugins_manager import AirflowPlugin


class StripPrefix(PartitionMapper):
    """Takes a prefix off; a key that is one letter is an error, one with commas gives several."""

    def __init__(self, prefix, *, max_downstream_keys=None):
        super().__init__(max_downstream_keys=max_downstream_keys)
        self.prefix = prefix

    def to_downstream(self, key):
        if len(key) == 1:
            raise ValueError(f"{key} is too short")
        return [part.removeprefix(self.prefix) for part in key.split(",")]

    def serialize(self):
        return {"prefix": self.prefix, **super().serialize()}

    @classmethod
    def deserialize(cls, data):
        return cls(data["prefix"], max_downstream_keys=data.get("max_downstream_keys"))


class OddDays(Window):
    """The first odd days of a month."""

    from datetime import datetime as expected_decoded_type

    def __init__(self, count, **kwargs):
        super().__init__(**kwargs)
        self.count = count

    def to_upstream(self, period_start):
        return [period_start + timedelta(days=2 * i) for i in range(self.count)]

    def serialize(self):
        return {"count": self.count, **super().serialize()}

    @classmethod
    def deserialize(cls, data):
        return cls(data["count"], direction=cls.Direction(data["direction"]))


class PartitionPlugin(AirflowPlugin):
    name = "partition_plugin"
    partition_mappers = [StripPrefix]
    windows = [OddDays]

"""Classes that give weights: by try and item, one that raises, one that hangs."""

import time

from airflow.plugins_manager import AirflowPlugin
from airflow.task.priority_strategy import PriorityWeightStrategy


class ByTry(PriorityWeightStrategy):
    def get_weight(self, ti):
        below = len(ti.task.get_flat_relative_ids(upstream=False))
        return 100 * ti.task.priority_weight + 10 * below - (ti.try_number or 0) + max(ti.map_index, 0)


class Raises(PriorityWeightStrategy):
    def get_weight(self, ti):
        raise ValueError(f"{ti.task_id} has no weight")


class Hangs(PriorityWeightStrategy):
    def get_weight(self, ti):
        time.sleep(3600)


class OwnWeights(AirflowPlugin):
    name = "own_weights"
    priority_weight_strategies = [ByTry, Raises, Hangs]

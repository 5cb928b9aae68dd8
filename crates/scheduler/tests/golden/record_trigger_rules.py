"""Records what Airflow's TriggerRuleDep does with a task instance, for every rule over every mix of upstream states.

Run with the Python of an environment that has Airflow 3.3.2: python record_trigger_rules.py > trigger_rules.txt

Each line is a rule, the upstreams (`s` for a setup, `t` for another task) and one letter for every mix of their states,
the last upstream's state changing fastest: `.` waits, `R` runs, or the first letter of the state that the task takes.
States in order: success, failed, skipped, upstream_failed, removed, not ended, no such task instance.
"""

from itertools import product
from types import SimpleNamespace

from airflow.task.trigger_rule import TriggerRule
from airflow.ti_deps.deps.trigger_rule_dep import TriggerRuleDep

STATES = ["success", "failed", "skipped", "upstream_failed", "removed", "running", None]
LETTERS = {"upstream_failed": "u", "skipped": "s", "removed": "r"}


def outcome(rule, kinds, mix):
    upstreams = [
        SimpleNamespace(task_id=f"u{n}", is_setup=kind == "s", get_needs_expansion=lambda: False)
        for n, kind in enumerate(kinds)
    ]
    finished = [
        SimpleNamespace(task_id=task.task_id, task=task, state=state, map_index=-1)
        for task, state in zip(upstreams, mix)
        if state not in ("running", None)
    ]
    task = SimpleNamespace(
        upstream_list=upstreams,
        upstream_task_ids={task.task_id for task in upstreams},
        trigger_rule=TriggerRule(rule),
        is_teardown=rule == "all_done_setup_success",
        dag=None,
        get_closest_mapped_task_group=lambda: None,
        get_upstreams_only_setups=lambda: [],
    )
    became = []
    ti = SimpleNamespace(
        task=task,
        map_index=-1,
        get_dagrun=lambda session: None,
        set_state=lambda state, session: became.append(state) or True,
    )
    context = SimpleNamespace(
        flag_upstream_failed=True,
        wait_for_past_depends_before_skipping=False,
        have_changed_ti_states=False,
        ensure_finished_tis=lambda run, session: finished,
    )
    statuses = list(TriggerRuleDep()._get_dep_statuses(ti, context, session=None))
    if became:
        assert not all(status.passed for status in statuses)
        return LETTERS[became[-1].value]
    return "R" if all(status.passed for status in statuses) else "."


for rule in sorted(rule.value for rule in TriggerRule):
    for kinds in ["t", "s", "tt", "st", "ss", "ttt", "stt", "sst", "sss"]:
        mixes = product(STATES, repeat=len(kinds))
        print(rule, kinds, "".join(outcome(rule, kinds, mix) for mix in mixes))

"""What plugins are asked while nothing is imported: when a timetable's next run is due, what a run is about,
which runs there are, what a task instance weighs.

The child says what it has found, and is answered with the next question. Between the two the code of plugins may ask for
variables and connections, in the official messages.
"""

import calendar
import json
import os
import traceback
from datetime import datetime

import updraft_plugins

# Timetables that are kept ready.
MAX_KEPT = 256
# Dags whose tasks are weighed that are kept ready.
MAX_DAGS = 32
# What is told of a traceback.
MAX_TEXT = 8000


def main():
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "client"
    from airflow.sdk.execution_time import comms, task_runner

    decoder = comms.CommsDecoder()
    task_runner.SUPERVISOR_COMMS = decoder
    before = updraft_plugins.signature()
    answer = None
    while True:
        question = exchange(decoder, answer)
        if updraft_plugins.signature() != before:
            # Another child loads the plugins as they are now.
            exchange(decoder, {"outdated": True})
            return
        answer = answer_to(question)


def exchange(decoder, answer):
    from airflow.sdk.execution_time.comms import _RequestFrame

    frame = _RequestFrame(id=next(decoder.id_counter), body={"type": "UpdraftAnswer", "answer": answer})
    decoder.socket.sendall(frame.as_bytes())
    return decoder._read_frame().body


def answer_to(question):
    kinds = {
        "next": next_run,
        "manual": manual_run,
        "between": runs_between,
        "partition": map_partition,
        "weights": weights,
    }
    try:
        return kinds[question["ask"]](question)
    except Exception as error:
        text = "".join(traceback.format_exception(error, limit=-6))
        said = str(error)
        # What Airflow's routes tell as it is; of others they say nothing.
        summary = said if said and isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        return {"error": summary[:MAX_TEXT], "traceback": text[-MAX_TEXT:]}


kept = {}


def timetable_of(question):
    from airflow.serialization.decoders import decode_timetable

    key = json.dumps(question["timetable"], sort_keys=True)
    if key not in kept:
        if len(kept) >= MAX_KEPT:
            kept.clear()
        kept[key] = decode_timetable(question["timetable"])
    return kept[key]


def moment(micros):
    from airflow._shared.timezones import timezone

    if micros is None:
        return None
    seconds, micros = divmod(micros, 1_000_000)
    return timezone.coerce_datetime(datetime.fromtimestamp(seconds, timezone.utc).replace(microsecond=micros))


def micros(value, name):
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError(f"{name} is {value}, a date without a time zone")
    return calendar.timegm(value.utctimetuple()) * 1_000_000 + value.microsecond


def interval_of(pair):
    from airflow.timetables.base import DataInterval

    return None if pair is None else DataInterval(moment(pair[0]), moment(pair[1]))


def interval_micros(interval):
    return [micros(interval.start, "data_interval.start"), micros(interval.end, "data_interval.end")]


def next_run(question):
    from airflow.timetables.base import DagRunInfo, TimeRestriction
    from airflow.utils.types import DagRunType

    timetable = timetable_of(question)
    last = interval_of(question["last"])
    info = timetable.next_dagrun_info_v2(
        last_dagrun_info=None if last is None else DagRunInfo(run_after=last.end, data_interval=last),
        restriction=TimeRestriction(
            earliest=moment(question["earliest"]), latest=moment(question["latest"]), catchup=question["catchup"]
        ),
    )
    if info is None:
        return {"next": None}
    if info.data_interval is None:
        raise ValueError("the next run has no data_interval, which only partitioned Dags may do without")
    run_id = timetable.generate_run_id(
        run_type=DagRunType.SCHEDULED,
        run_after=info.run_after,
        data_interval=info.data_interval,
        partition_key=info.partition_key,
    )
    run_after = micros(info.run_after, "run_after")
    return {"next": {"run_after": run_after, "interval": interval_micros(info.data_interval), "run_id": str(run_id)}}


def manual_run(question):
    from airflow.utils.types import DagRunType

    timetable = timetable_of(question)
    interval = interval_of(question["interval"])
    logical_date = moment(question["logical_date"])
    if interval is None and logical_date is not None:
        interval = timetable.infer_manual_data_interval(run_after=logical_date)
    found = {"interval": None if interval is None else interval_micros(interval)}
    if question["names"]:
        run_id = timetable.generate_run_id(
            run_type=DagRunType(question["run_type"]), run_after=moment(question["run_after"]), data_interval=interval
        )
        found["run_id"] = str(run_id)
    return found


def runs_between(question):
    """Runs between two moments, as `iter_dagrun_infos_between` goes through them, and no more than so many."""
    from airflow.timetables.base import TimeRestriction

    timetable = timetable_of(question)
    restriction = TimeRestriction(
        earliest=moment(question["earliest"]), latest=moment(question["latest"]), catchup=True
    )
    info, found = None, []
    while len(found) < question["most"]:
        following = timetable.next_dagrun_info_v2(last_dagrun_info=info, restriction=restriction)
        # One that does not go on would be asked for ever.
        if following is None or (info is not None and following.run_after <= info.run_after):
            break
        info = following
        if info.data_interval is None:
            raise ValueError("a run has no data_interval, which only partitioned Dags may do without")
        found.append([micros(info.run_after, "run_after"), *interval_micros(info.data_interval)])
    return {"runs": found}


def map_partition(question):
    """The keys that follow from one, and of each what it waits for and the date that it stands for."""
    from airflow.utils.helpers import is_container

    mapper = mapper_of(question["mapper"])
    found = mapper.to_downstream(question["key"])
    keys = list(found) if is_container(found) else [found]
    if len(keys) > question["max_keys"]:
        return {"count": len(keys), "keys": [], "carried": None, "problems": []}
    for key in keys:
        if not isinstance(key, str):
            raise TypeError(f"{type(mapper).__name__} gave {key!r} as a key, which is no text")
    problems = []
    try:
        carried = optional_micros(mapper.carry_partition_date(moment(question["date"])), "the date that it carries")
    except Exception as error:
        carried = None
        problems.append(f"The date of the event is not passed on: {described(error)}")
    told = {key: told_of(mapper, key, problems) for key in keys}
    return {"count": len(keys), "keys": list(told.items()), "carried": carried, "problems": problems}


def mapper_of(serialized):
    from airflow.serialization.decoders import decode_partition_mapper

    key = json.dumps(serialized, sort_keys=True)
    if key not in kept:
        if len(kept) >= MAX_KEPT:
            kept.clear()
        kept[key] = decode_partition_mapper(serialized)
    return kept[key]


def told_of(mapper, key, problems):
    told = {"upstream": None, "date": None, "no_date": False, "never": False}
    if mapper.is_rollup:
        try:
            told["upstream"] = sorted(mapper.to_upstream(key))
        except Exception as error:
            told["never"] = True
            problems.append(f"What the partition {key!r} waits for is not known: {described(error)}")
    try:
        told["date"] = optional_micros(mapper.to_partition_date(key), "the date of a partition")
    except Exception as error:
        told["no_date"] = True
        problems.append(f"The date of the partition {key!r} is not known: {described(error)}")
    return told


def optional_micros(value, name):
    return None if value is None else micros(value, name)


def described(error):
    return f"{type(error).__name__}: {error}"


dags = {}


def weights(question):
    """What a `PriorityWeightStrategy` says of task instances as Airflow makes them: without a row in a database."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.task.priority_strategy import validate_and_load_priority_weight_strategy

    version = question["version"]
    if version not in dags:
        if question.get("dag") is None:
            return {"wants": "dag"}
        if len(dags) >= MAX_DAGS:
            dags.clear()
        dags[version] = DagSerialization.from_dict(question["dag"])
    dag = dags[version]
    # It would ask for the weight while there is nothing to weigh yet.
    TaskInstance.refresh_from_task = lambda self, task, *_, **__: setattr(self, "task", task)
    found = []
    for task_id, map_index, tries in question["instances"]:
        task = dag.get_task(task_id)
        rule = task.weight_rule
        if not hasattr(rule, "get_weight"):
            rule = validate_and_load_priority_weight_strategy(rule)
        ti = TaskInstance(task, run_id=question["run_id"], map_index=map_index, dag_version_id=version)
        ti.try_number, ti.max_tries = tries, task.retries
        ti.queue, ti.pool, ti.pool_slots = task.queue, task.pool, task.pool_slots
        ti.priority_weight = task.priority_weight
        ti.operator, ti.executor, ti.executor_config = task.task_type, task.executor, task.executor_config
        weight = rule.get_weight(ti)
        if not isinstance(weight, int):
            raise TypeError(f"get_weight of the task {task_id} returned {weight!r}, which is no whole number")
        found.append(max(-(2**31), min(2**31 - 1, int(weight))))
    return {"weights": found}

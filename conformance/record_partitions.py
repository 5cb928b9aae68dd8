#!/usr/bin/env python3
"""Makes runs with partition keys on the Dags of `dags_partitions`, and compares what follows with a recording of Airflow, or
records it.

    record_partitions.py --url http://localhost:8080 [--only TEXT]
    record_partitions.py --url http://localhost:8080 --record reference/own_partitions.json [--quiet 12]

It runs against any server with the API v2 on which these Dags have not run yet, with `dags_partitions/plugins` as its plugins
folder. Standard library only.
"""

import argparse
import json
import pathlib
import sys
import time
import urllib.error

from record import Client, quote
from record_schedules import all_pages, compare, plain, tasks_of

HERE = pathlib.Path(__file__).resolve().parent
REFERENCE = HERE / "reference" / "own_partitions.json"
RUN_FIELDS = ("run_type", "triggered_by", "state", "logical_date", "data_interval_start", "data_interval_end")
HOURS = [f"2024-02-29T{hour:02}:00:00" for hour in range(24)]
ROUNDS = [
    # In one round each asset is updated by one run at most: whether two make one run of a consumer is a matter of chance.
    [
        ("pa_make_moments", "2024-03-13T10:42:15", {}),
        ("pa_make_regions", "us", {}),
        ("pa_make_pairs", "us|2024-03-13T10:42:15", {}),
        ("pa_make_days", "2024-03-13", {}),
        ("pa_make_hours", None, {"keys": [HOURS[:21]]}),
        ("pa_make_by_alias", "of the run", {}),
        ("pa_cron", "2024-05-06T07:08:09", {}),
    ],
    [
        ("pa_make_moments", "2024-12-31T23:59:59", {}),
        ("pa_make_regions", None, {"keys": [["eu", "us", "mars"]]}),
        ("pa_make_pairs", "2024-03-13T10:42:15~2024-03-13T10:42:15", {}),
        ("pa_make_hours", None, {"keys": [HOURS[21:]]}),
        ("pa_make_days", None, {"keys": [["2024-03-01", "2024-03-03", "2024-03-05"], "no day"]}),
        ("pa_cron", None, {}),
    ],
    [
        ("pa_make_regions", None, {"keys": ["apac", "eu-north", "x", "eu-a,eu-b,c"]}),
        ("pa_make_hours", "2024-03-13T10:00:00", {}),
        ("pa_make_moments", "2024-03-13", {}),
        ("pa_make_days", "2024-03-07", {}),
    ],
    [
        ("pa_make_days", "2024-02-29", {}),
        ("pa_make_regions", "us", {}),
        ("pa_make_moments", None, {"keys": ["2024-03-13T10:42:15"]}),
        ("pa_make_hours", None, {"keys": [["2024-03-31T02:30:00"]]}),
    ],
    [("pa_make_moments", None, {})],
]
REFUSED = [
    ("pa_cron", "2024"),
    ("pa_plain", "key"),
    ("pa_day", "13.3.2024"),
    ("pa_day", "2024-03-13"),
    ("pa_identity", " "),
    ("pa_identity", "x" * 251),
    ("pa_identity", "mine"),
    ("pa_make_days", ""),
]
"""Requests whose answers are compared, too; they come last."""


def make(api, dag_id, run_id, key, conf):
    body = {"logical_date": None, "dag_run_id": run_id, "partition_key": key, "conf": conf}
    path = f"/api/v2/dags/{quote(dag_id)}/dagRuns"
    try:
        run = api("POST", path, body)
        return [200, {name: run[name] for name in ("partition_key", "partition_date")}]
    except urllib.error.HTTPError as error:
        answer = json.loads(error.read())
        return [error.code, answer["detail"]]


def rest(api, quiet, timeout):
    """Waits until no run has come or changed for `quiet` seconds."""
    seen, since, end = None, time.monotonic(), time.monotonic() + timeout
    while time.monotonic() < end and time.monotonic() - since < quiet:
        time.sleep(0.5)
        runs = all_pages(api, "/api/v2/dags/~/dagRuns?order_by=id", "dag_runs")
        now = [(run["dag_id"], run["dag_run_id"], run["state"]) for run in runs]
        if now != seen or any(state in ("queued", "running") for *_, state in now):
            seen, since = now, time.monotonic()


def events_of(api, run_path):
    """The events that a run was made of; nothing where the server has no such route."""
    try:
        answer = api("GET", f"{run_path}/upstreamAssetEvents")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
    events = [[event["name"], event["partition_key"], event["extra"]] for event in answer["asset_events"]]
    return sorted(events, key=str)


def in_order(runs):
    """By what they are about: which of two was made first is a matter of chance."""
    return sorted(runs, key=lambda run: json.dumps(run, sort_keys=True))


def without_events(recording):
    """Tasks return the keys of the events, too."""
    for dag in recording.values():
        if isinstance(dag, dict) and "runs" in dag:
            for run in dag["runs"]:
                del run["events"]
            dag["runs"] = in_order(dag["runs"])


def result_of(api, dag_id):
    """What a Dag is like and its runs, by their keys: which of two producers was first is a matter of chance."""
    dag = api("GET", f"/api/v2/dags/{quote(dag_id)}")
    base = f"/api/v2/dags/{quote(dag_id)}/dagRuns"
    runs = []
    for run in all_pages(api, f"{base}?order_by=id", "dag_runs"):
        events = []
        if run["run_type"] == "asset_triggered":
            events = events_of(api, f"{base}/{quote(run['dag_run_id'])}")
        runs.append(
            {
                "partition": [run["partition_key"], run["partition_date"]],
                **{field: plain(run[field]) for field in RUN_FIELDS},
                "events": events,
                "tasks": tasks_of(api, dag_id, run["dag_run_id"]),
            }
        )
    fields = ("timetable_summary", "timetable_description", "timetable_partitioned", "timetable_periodic")
    return {**{name: dag[name] for name in fields}, "runs": in_order(runs)}


def record(api, quiet, timeout):
    dag_ids = [dag["dag_id"] for dag in all_pages(api, "/api/v2/dags?tags=partitions&order_by=dag_id", "dags")]
    for dag_id in dag_ids:
        api("PATCH", f"/api/v2/dags/{quote(dag_id)}", {"is_paused": False})
    rest(api, quiet, timeout)
    for number, wanted in enumerate(ROUNDS):
        for place, (dag_id, key, conf) in enumerate(wanted):
            make(api, dag_id, f"round_{number}_{place}", key, conf)
        rest(api, quiet, timeout)
    results = {dag_id: result_of(api, dag_id) for dag_id in dag_ids}
    answers = [[dag_id, key, *make(api, dag_id, f"late_{place}", key, {})] for place, (dag_id, key) in enumerate(REFUSED)]
    results["answers"] = {json.dumps(answer[:2])[:60]: answer[2:] for answer in answers}
    return dict(sorted(results.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password", default="admin")
    parser.add_argument("--quiet", type=float, default=3, help="seconds without a change after which all is done")
    parser.add_argument("--timeout", type=float, default=240)
    parser.add_argument("--only", default="", help="compare only Dags with this in their id; all of them run")
    parser.add_argument("--reference", type=pathlib.Path, default=REFERENCE)
    parser.add_argument("--agreeing", type=pathlib.Path, help="write the ids of the Dags that agree here")
    parser.add_argument("--record", type=pathlib.Path, help="write the runs into this recording instead")
    args = parser.parse_args()
    got = record(Client(args.url, args.user, args.password), args.quiet, args.timeout)
    if args.record:
        recording = {"__unstable__": [], **got}
        args.record.write_text(json.dumps(recording, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
        print(f"{len(got)} Dags recorded")
        return
    recording = json.loads(args.reference.read_text())
    if any(run["events"] is None for dag in got.values() for run in dag.get("runs", [])):
        without_events(got)
        without_events(recording)
    agree = compare(recording, got, args.only)
    total = sum(1 for dag_id in recording if dag_id != "__unstable__" and args.only in dag_id)
    print(f"{len(agree)} of {total} Dags with partitions run as they do on Airflow")
    if args.agreeing:
        args.agreeing.write_text("".join(f"{dag_id}\n" for dag_id in agree))
    sys.exit(len(agree) != total)


if __name__ == "__main__":
    main()

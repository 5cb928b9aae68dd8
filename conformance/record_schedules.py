#!/usr/bin/env python3
"""Lets the Dags of `dags_schedules` run by themselves and compares the runs with a recording of Airflow, or records them.

    record_schedules.py --url http://localhost:8080 [--only TEXT]
    record_schedules.py --url http://localhost:8080 --record reference/own_schedules.json [--quiet 20]

It runs against any server with the API v2 on which these Dags have not run yet. It unpauses them all, waits until nothing
has changed for a while, and reads their runs. Dates of the last days are written as a distance from today. Standard
library only.
"""

import argparse
import datetime
import difflib
import json
import pathlib
import re
import sys
import threading
import time

from record import Client, quote

HERE = pathlib.Path(__file__).resolve().parent
REFERENCE = HERE / "reference" / "own_schedules.json"
ENDLESS = {"other_continuous": 3}
"""Dags that never come to rest, and how many of their runs are looked at."""
RUN_FIELDS = ("run_type", "logical_date", "data_interval_start", "data_interval_end", "run_after", "state", "conf")
RECENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?(Z|\+00:00)")


def plain(value):
    """A date of these days is written as `<today-1 00:00:00>`, or as `<moment>` where it is no round time."""

    def relative(match):
        today = datetime.datetime.now(datetime.timezone.utc).date()
        days = (datetime.date.fromisoformat(match[1]) - today).days
        if abs(days) > 40:
            return match[0]
        return f"<today{days:+d} {match[2]}>{match[4]}" if match[2] == "00:00:00" and not match[3] else "<moment>"

    if isinstance(value, str):
        return re.sub(r"(<moment>)_\w{8}\b", r"\1_<random>", RECENT.sub(relative, value))
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def all_pages(api, path, key):
    rows = []
    while True:
        page = api("GET", f"{path}{'&' if '?' in path else '?'}limit=100&offset={len(rows)}")
        rows += page[key]
        if not page[key] or len(rows) >= page["total_entries"]:
            return rows


def runs_of(api, dag_id):
    runs = all_pages(api, f"/api/v2/dags/{quote(dag_id)}/dagRuns?order_by=id", "dag_runs")
    return runs[: ENDLESS.get(dag_id, len(runs))]


def tasks_of(api, dag_id, run_id):
    base = f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}"
    tasks = {
        ti["task_id"]: {"state": ti["state"], "try_number": ti["try_number"]}
        for ti in all_pages(api, f"{base}/taskInstances", "task_instances")
    }
    path = f"{base}/taskInstances/~/xcomEntries?xcom_key=return_value"
    for entry in all_pages(api, path, "xcom_entries"):
        task = quote(entry["task_id"])
        value = api("GET", f"{base}/taskInstances/{task}/xcomEntries/return_value")["value"]
        tasks[entry["task_id"]]["return_value"] = plain(value)
    return dict(sorted(tasks.items()))


def rest(api, dag_ids, quiet, timeout):
    """Waits until no run has come or changed for `quiet` seconds."""
    seen, since, end = None, time.monotonic(), time.monotonic() + timeout
    open_ends = dict(ENDLESS)
    while time.monotonic() < end and time.monotonic() - since < quiet:
        time.sleep(0.5)
        now = {}
        for dag_id in dag_ids:
            now[dag_id] = [(run["dag_run_id"], run["state"]) for run in runs_of(api, dag_id)]
            if dag_id in open_ends and len(now[dag_id]) >= open_ends[dag_id]:
                api("PATCH", f"/api/v2/dags/{quote(dag_id)}", {"is_paused": True})
                del open_ends[dag_id]
        if now != seen:
            seen, since = now, time.monotonic()


def result_of(api, dag_id):
    dag = api("GET", f"/api/v2/dags/{quote(dag_id)}")
    runs = runs_of(api, dag_id)
    started = sorted((run for run in runs if run["start_date"]), key=lambda run: run["start_date"])
    return {
        "timetable_summary": dag["timetable_summary"],
        "timetable_description": dag["timetable_description"],
        "next": plain([dag["next_dagrun_logical_date"], dag["next_dagrun_run_after"]]),
        "is_paused": dag["is_paused"],
        "runs": [
            {
                "run_id": plain(run["dag_run_id"]),
                **{field: plain(run[field]) for field in RUN_FIELDS},
                "tasks": tasks_of(api, dag_id, run["dag_run_id"]),
            }
            for run in runs
        ],
        "started_in_order": [plain(run["dag_run_id"]) for run in started],
    }


def run_all(api, dag_ids, quiet, timeout):
    """Unpauses these Dags, waits until they rest, reads what ran, and pauses them again."""
    for dag_id in dag_ids:
        api("PATCH", f"/api/v2/dags/{quote(dag_id)}", {"is_paused": False})
    rest(api, dag_ids, quiet, timeout)
    results = {dag_id: result_of(api, dag_id) for dag_id in dag_ids}
    for dag_id in dag_ids:
        api("PATCH", f"/api/v2/dags/{quote(dag_id)}", {"is_paused": True})
    return results


def record(api, quiet, timeout):
    """All Dags; those that never rest come last and alone, as a server that they keep busy may not answer in time."""
    dags = all_pages(api, "/api/v2/dags?tags=schedules&order_by=dag_id", "dags")
    dag_ids = [dag["dag_id"] for dag in dags]
    results = run_all(api, [dag_id for dag_id in dag_ids if dag_id not in ENDLESS], quiet, timeout)
    for dag_id in set(dag_ids) & set(ENDLESS):
        found = {}

        def alone(dag_id=dag_id, found=found):
            found.update(run_all(api, [dag_id], quiet, timeout))

        thread = threading.Thread(target=alone, daemon=True)
        thread.start()
        thread.join(timeout)
        if found:
            results.update(found)
        else:
            print(f"{dag_id}: the server did not answer in {timeout:g} s", file=sys.stderr)
    return dict(sorted(results.items()))


def written(value):
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True).splitlines()


def compare(wanted, got, only=""):
    """Prints what differs; returns the Dags that agree."""
    unstable = set(wanted.get("__unstable__", []))
    agree = []
    for dag_id, theirs in wanted.items():
        if dag_id == "__unstable__" or only not in dag_id:
            continue
        mine = got.get(dag_id)
        if mine is None:
            print(f"{dag_id}: not in the recording")
            continue
        kept = [key for key in theirs if f"{dag_id}/{key}" not in unstable]
        theirs, mine = ({key: side[key] for key in kept} for side in (theirs, mine))
        if theirs == mine:
            agree.append(dag_id)
            continue
        print(f"{dag_id}:")
        lines = list(difflib.unified_diff(written(theirs), written(mine), "airflow", "here", lineterm="", n=1))[2:]
        for line in lines[:16]:
            print("    " + line[:240])
        if len(lines) > 16:
            print(f"    ... {len(lines) - 16} lines more")
    return agree


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password", default="admin")
    parser.add_argument("--quiet", type=float, default=3, help="seconds without a change after which all is done")
    parser.add_argument("--timeout", type=float, default=120)
    parser.add_argument("--only", default="", help="compare only Dags with this in their id; all of them run")
    parser.add_argument("--reference", type=pathlib.Path, default=REFERENCE)
    parser.add_argument("--agreeing", type=pathlib.Path, help="write the ids of the Dags that agree here")
    parser.add_argument("--record", type=pathlib.Path, help="write the runs into this recording instead")
    parser.add_argument("--again", action="store_true", help="with --record: note where the recording disagrees")
    args = parser.parse_args()
    got = record(Client(args.url, args.user, args.password), args.quiet, args.timeout)
    path = args.record or args.reference
    recording = json.loads(path.read_text()) if path.exists() else {}
    if args.record:
        if args.again:
            compare(recording, got)
            unstable = {
                f"{dag_id}/{key}"
                for dag_id, mine in got.items()
                for key in mine
                if mine[key] != recording.get(dag_id, {}).get(key)
            }
            recording["__unstable__"] = sorted(unstable | set(recording["__unstable__"]))
        else:
            recording = {"__unstable__": [], **got}
        path.write_text(json.dumps(recording, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
        print(f"{len(got)} schedules recorded, unstable: {recording['__unstable__']}")
        return
    agree = compare(recording, got, args.only)
    total = sum(1 for dag_id in recording if dag_id != "__unstable__" and args.only in dag_id)
    print(f"{len(agree)} of {total} schedules run as they do on Airflow")
    if args.agreeing:
        args.agreeing.write_text("".join(f"{dag_id}\n" for dag_id in agree))
    sys.exit(len(agree) != total)


if __name__ == "__main__":
    main()

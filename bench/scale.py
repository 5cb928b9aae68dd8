#!/usr/bin/env python3
"""What a run costs with ten Dags, and with 10,000 Dags and 100,000 finished runs beside it. Standard library only.

    scale.py --updraft target/release/updraft --python .venv/bin/python [--dags 10000] [--history 100000]

All of it is real: the Dags are imported from files, the history is run. Prints the time of one run (triggering it, and
from its start to its end), small beside large in turn, and the time of the API's list calls at full size.
"""

import argparse
import datetime as dt
import http.client
import json
import pathlib
import statistics
import sys
import tempfile
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "conformance"))
from server import running  # noqa: E402

DAGS_PER_FILE = 100
GOAL_RATIO, GOAL_LIST_MS = 1.2, 50

HOT = """
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG("hot", schedule=None, max_active_runs=64):
    BashOperator(task_id="a", bash_command="true") >> [
        BashOperator(task_id=f"b{i}", bash_command="true") for i in range(3)
    ] >> EmptyOperator(task_id="c")

with DAG("past", schedule=None, max_active_runs=1000):
    EmptyOperator(task_id="a") >> [EmptyOperator(task_id=f"b{i}") for i in range(3)] >> EmptyOperator(task_id="c")
"""

MANY = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

for number in range({first}, {last}):
    with DAG(f"many_{{number:05}}", schedule="@daily", start_date=None, tags=["many"]):
        EmptyOperator(task_id="a") >> [EmptyOperator(task_id=f"b{{i}}") for i in range(3)] >> EmptyOperator(task_id="c")
"""


class Api:
    """Requests over one connection that stays open."""

    def __init__(self, server):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.url).netloc, timeout=120)
        self.headers = {"Authorization": f"Bearer {server.token()}", "Content-Type": "application/json"}

    def __call__(self, method, path, body=None):
        self.connection.request(method, path, None if body is None else json.dumps(body), self.headers)
        reply = self.connection.getresponse()
        text = reply.read()
        if reply.status >= 400:
            raise SystemExit(f"{method} {path}: {reply.status} {text[:300]!r}")
        return json.loads(text)


def moment(text):
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00"))


def one_run(api):
    """Seconds to trigger a run, seconds from its start to its end, and both together."""
    start = time.perf_counter()
    run = api("POST", "/api/v2/dags/hot/dagRuns", {"logical_date": None})
    triggered = time.perf_counter() - start
    path = f"/api/v2/dags/hot/dagRuns/{urllib.parse.quote(run['dag_run_id'], safe='')}"
    while run["end_date"] is None:
        time.sleep(0.003)
        run = api("GET", path)
    if run["state"] != "success":
        raise SystemExit(f"the run is {run['state']}")
    finished = (moment(run["end_date"]) - moment(run["start_date"])).total_seconds()
    return triggered, finished, triggered + finished


def write_dags(folder, count):
    folder.mkdir()
    (folder / "hot.py").write_text(HOT)
    for first in range(0, count, DAGS_PER_FILE):
        last = min(first + DAGS_PER_FILE, count)
        (folder / f"many_{first:05}.py").write_text(MANY.format(first=first, last=last))


def make_history(api, count):
    """Runs Dags to their end until there are so many runs."""
    start = time.perf_counter()
    for number in range(count):
        api("POST", "/api/v2/dags/past/dagRuns", {"logical_date": None, "dag_run_id": f"manual__{number:06}"})
        if number % 10_000 == 9_999:
            print(f"  {number + 1} runs made after {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    while api("GET", "/api/v2/dags/past/dagRuns?limit=1&state=running&state=queued")["total_entries"]:
        time.sleep(0.2)
    return time.perf_counter() - start


LISTS = {
    "Dags": "/api/v2/dags?limit=50",
    "Dags by last run": "/api/v2/dags?limit=50&order_by=-last_run_start_date",
    "Dags by pattern": "/api/v2/dags?limit=50&dag_id_pattern=many_05",
    "runs of one Dag": "/api/v2/dags/past/dagRuns?limit=100",
    "runs, newest first": "/api/v2/dags/past/dagRuns?limit=100&order_by=-run_after",
    "runs of all Dags": "/api/v2/dags/~/dagRuns?limit=100",
    "failed runs of all Dags": "/api/v2/dags/~/dagRuns?limit=100&state=failed",
    "task instances of one run": "/api/v2/dags/past/dagRuns/manual__000000/taskInstances",
    "task instances of all runs": "/api/v2/dags/~/dagRuns/~/taskInstances?limit=100",
    "running task instances": "/api/v2/dags/~/dagRuns/~/taskInstances?limit=100&state=running",
    "XCom entries": "/api/v2/dags/~/dagRuns/~/taskInstances/~/xcomEntries?limit=50",
    "pools": "/api/v2/pools",
}


def time_lists(api, rounds=9):
    found = {}
    for name, path in LISTS.items():
        samples = []
        for _ in range(rounds):
            start = time.perf_counter()
            api("GET", path)
            samples.append((time.perf_counter() - start) * 1000)
        found[name] = statistics.median(samples)
    return found


def measure(args):
    with tempfile.TemporaryDirectory(prefix="updraft-scale-") as scratch:
        scratch = pathlib.Path(scratch)
        write_dags(scratch / "few", 10)
        write_dags(scratch / "many", args.dags)
        with (
            running(args.updraft, args.python, [scratch / "few"], home=scratch / "small") as small,
            running(args.updraft, args.python, [scratch / "many"], home=scratch / "large") as large,
        ):
            small.wait_for_dags(["hot", "past", "many_00009"])
            large.wait_for_dags(["hot", "past"])
            few, many = Api(small), Api(large)
            for api in (few, many):
                api("PATCH", "/api/v2/dags/hot", {"is_paused": False})
                api("PATCH", "/api/v2/dags/past", {"is_paused": False})
            start = time.perf_counter()
            while many("GET", "/api/v2/dags?limit=1")["total_entries"] < args.dags + 2:
                time.sleep(0.5)
            print(f"  {args.dags} Dags imported after {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
            seconds = make_history(many, args.history)
            samples = {"few": [], "many": []}
            for _ in range(args.runs + 3):
                samples["few"].append(one_run(few))
                samples["many"].append(one_run(many))
            lists = time_lists(many)
            rss = resident_mib(large.process.pid)
    medians = {
        name: tuple(statistics.median(values[3:][i][part] for i in range(args.runs)) for part in (0, 1, 2))
        for name, values in samples.items()
    }
    return {"runs": medians, "lists_ms": lists, "history_s": seconds, "engine_rss_mib": rss}


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def report(args, found):
    few, many = found["runs"]["few"], found["runs"]["many"]
    print(f"{'median of one run':28} {'10 Dags':>10} {'large':>10} {'ratio':>7}   goal <= {GOAL_RATIO}")
    for part, name in enumerate(("trigger, ms", "start to end, ms", "together, ms")):
        print(f"{name:28} {few[part] * 1000:10.2f} {many[part] * 1000:10.2f} {many[part] / few[part]:7.2f}")
    print(f"\n{'list calls at full size':28} {'ms':>10}   goal <= {GOAL_LIST_MS}")
    for name, value in found["lists_ms"].items():
        print(f"{name:28} {value:10.2f}{'  MISSED' if value > GOAL_LIST_MS else ''}")
    rate = args.history / found["history_s"]
    print(f"\n{args.history} runs of 5 tasks made and finished at {rate:.0f} runs a second; engine {found['engine_rss_mib']:.0f} MiB resident")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updraft", required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--dags", type=int, default=10_000)
    parser.add_argument("--history", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--json", action="store_true", help="figures for programs")
    args = parser.parse_args()
    found = measure(args)
    print(json.dumps(found, indent=1)) if args.json else report(args, found)


if __name__ == "__main__":
    main()

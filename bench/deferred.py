#!/usr/bin/env python3
"""What very many deferred tasks cost while they wait, and how late they go on. Standard library only.

    deferred.py --updraft target/release/updraft --python .venv/bin/python [--count 5000] [--start-s 240]
"""

import argparse
import datetime as dt
import os
import pathlib
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "conformance"))
# First, and imported first, because both have a `run`.
sys.path.insert(0, str(HERE))
from run import below, memory  # noqa: E402
from peers import moment  # noqa: E402
from record import Client  # noqa: E402
from server import running  # noqa: E402

CPU_GOAL_PERCENT, LATE_GOAL_S = 5.0, 2.0
# Seconds over which the idle engine is watched.
WATCH_S = 10


def cpu_s(pid):
    """Seconds of processor time that a process and all that it started have taken."""
    total = 0
    for process in below(pid):
        try:
            fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def count_in(api, path, state):
    return api("GET", f"{path}/taskInstances?state={state}&limit=1")["total_entries"]


def measure(server, args):
    api = Client(server.url, "admin", "admin")
    dag_id = f"deferred{args.count}"
    api("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})
    wanted = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=args.start_s)
    body = {"logical_date": None, "conf": {"moment": wanted.isoformat()}}
    run = api("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run['dag_run_id']}"
    begun = time.monotonic()
    while count_in(api, path, "deferred") < args.count:
        if dt.datetime.now(dt.timezone.utc) > wanted - dt.timedelta(seconds=WATCH_S + 2):
            raise SystemExit(f"not all tasks are deferred after {args.start_s} s: raise --start-s")
        time.sleep(0.5)
    print(f"{args.count} tasks deferred after {time.monotonic() - begun:.1f} s")
    time.sleep(1)
    before = cpu_s(server.process.pid)
    time.sleep(WATCH_S)
    percent = (cpu_s(server.process.pid) - before) / WATCH_S * 100
    engine, helpers = memory(server.process.pid)
    print(f"while they wait: {percent:.1f} % of a core (goal {CPU_GOAL_PERCENT} %), {engine:.0f} MiB, Python {helpers:.0f} MiB")
    while run["state"] not in ("success", "failed"):
        time.sleep(0.2)
        run = api("GET", path)
    late = (moment(run["end_date"]) - wanted).total_seconds()
    ended = count_in(api, path, "success")
    print(f"all went on {late:.2f} s after their moment (goal {LATE_GOAL_S} s); {run['state']}, {ended} of {args.count}")
    return percent <= CPU_GOAL_PERCENT and 0 <= late <= LATE_GOAL_S and ended == args.count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updraft", required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--count", type=int, default=5000, choices=[500, 5000])
    parser.add_argument("--start-s", type=float, default=240, help="seconds that the tasks have to defer themselves")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="updraft-deferred-") as home:
        with running(args.updraft, args.python, [HERE / "dags"], home=home) as server:
            server.wait_for_dags([f"deferred{args.count}"])
            if not measure(server, args):
                sys.exit(1)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Our figures beside Airflow's and beside what the machine can do at best, in one run. Standard library only.

    run.py --updraft target/release/updraft --python .venv/bin/python [--runs 5] [--json]

Airflow's figures were measured with `peers.py` on a 2-core machine (3.3.2, LocalExecutor, PostgreSQL 15).
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "conformance"))
import floors  # noqa: E402
import peers  # noqa: E402
from record import Client  # noqa: E402
from server import running  # noqa: E402

AIRFLOW = {"chain50_bash": 53.8, "chain10_python": 9.05, "fan40_python": 8.2, "map500_bash": 140.2}
GOALS = {"chain50_bash": 0.090, "chain10_python": 0.6, "fan40_python": 2.0, "map500_bash": 1.0}
READY_GOAL_S, IDLE_GOAL_MIB = 0.3, 40
# One run of each, with the most memory that the engine takes meanwhile. Nobody has asked Airflow for these.
WIDE = {"map10000_bash": (25.0, 300), "map500_python": (20.0, 300)}


def pss_mib(pid):
    """Memory that is a process's own, with its share of what it shares, in MiB."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def below(pid):
    """The process and everything that it started."""
    found = [pid]
    for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if parent == pid:
            found += below(int(entry.parent.name))
    return found


def command_of(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def memory(pid, shells=True):
    """MiB of the engine with the process that starts its children, and of the Python helpers. What tasks take that are
    under way counts for neither if `shells` is false."""
    engine, helpers = 0.0, 0.0
    for process in below(pid):
        try:
            if "updraft_helper" in command_of(process):
                helpers += pss_mib(process)
            elif shells or "updraft" in command_of(process).split(" ")[0]:
                engine += pss_mib(process)
        except OSError:
            # It has ended meanwhile.
            continue
    return engine, helpers


def time_dags(server, dag_ids, runs):
    api = Client(server.url, "admin", "admin")
    times = {}
    for dag_id in dag_ids:
        api("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})
        peers.one_run(api, dag_id, 60)
        times[dag_id] = [peers.one_run(api, dag_id, 60) for _ in range(runs)]
    return times


def time_wide(server, dag_id):
    """Seconds of one run, and the most MiB that the engine has taken while it ran."""
    api = Client(server.url, "admin", "admin")
    api("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})
    most, done = [0.0], threading.Event()

    def watch():
        while not done.wait(0.2):
            most[0] = max(most[0], memory(server.process.pid, shells=False)[0])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        return peers.one_run(api, dag_id, 300), most[0]
    finally:
        done.set()
        watcher.join()


def time_starts(args, home, count=5):
    """Seconds from the command to an API that answers, on a home that exists."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        with running(args.updraft, args.python, [HERE / "dags"], home=home) as _:
            times.append(time.perf_counter() - start)
    return times


def measure(args):
    dag_ids = args.dags.split(",")
    with tempfile.TemporaryDirectory(prefix="updraft-bench-") as home:
        with running(args.updraft, args.python, [HERE / "dags"], home=home) as server:
            server.wait_for_dags(dag_ids)
            times = time_dags(server, dag_ids, args.runs)
            time.sleep(3)
            engine, helpers = memory(server.process.pid)
            wide = {}
            if args.wide:
                server.wait_for_dags(list(WIDE))
                wide = {dag_id: time_wide(server, dag_id) for dag_id in WIDE}
        ready = time_starts(args, home)
        fsync = floors.fsync_ms(home)
    return {
        "dags": times,
        "wide": wide,
        "ready_s": ready,
        "engine_mib": engine,
        "helpers_mib": helpers,
        "floors": {
            "bash_chain50_s": floors.bash_chain(),
            "fsync_ms": fsync,
            "warm_fork_ms": floors.warm_fork_ms(args.python),
        },
    }


def report(found):
    floor = found["floors"]
    floor_of = {
        "chain50_bash": (floor["bash_chain50_s"], "50 shells"),
        "chain10_python": (10 * floor["warm_fork_ms"] / 1000, "10 warm forks"),
        "fan40_python": (20 * floor["warm_fork_ms"] / 1000, "40 warm forks on 2 cores"),
        "map500_bash": (5 * floor["bash_chain50_s"], "500 shells on 2 cores"),
    }
    print(f"{'':16} {'Airflow':>9} {'floor':>9} {'goal':>9} {'median':>9} {'min':>9} {'max':>9}   seconds")
    for dag_id, times in found["dags"].items():
        value, what = floor_of[dag_id]
        median = statistics.median(times)
        mark = "" if median <= GOALS[dag_id] else "  MISSED"
        print(
            f"{dag_id:16} {AIRFLOW[dag_id]:9.3f} {value:9.3f} {GOALS[dag_id]:9.3f} {median:9.3f} {min(times):9.3f} "
            f"{max(times):9.3f}   floor: {what}{mark}"
        )
    for dag_id, (seconds, mib) in found["wide"].items():
        goal_s, goal_mib = WIDE[dag_id]
        mark = "" if seconds <= goal_s and mib <= goal_mib else "  MISSED"
        print(f"{dag_id:16} {'':9} {'':9} {goal_s:9.3f} {seconds:9.3f}   engine {mib:.0f} MiB at most (goal {goal_mib}){mark}")
    ready = found["ready_s"]
    print(f"{'start to API':16} {16:9.3f} {'':9} {READY_GOAL_S:9.3f} {statistics.median(ready):9.3f} {min(ready):9.3f} {max(ready):9.3f}")
    print(f"\nidle memory      engine {found['engine_mib']:.1f} MiB (goal {IDLE_GOAL_MIB}), Python helpers {found['helpers_mib']:.1f} MiB (Airflow: 1386 MB in all)")
    print(f"floors           fsync {floor['fsync_ms']:.2f} ms, fork of a warm Python {floor['warm_fork_ms']:.1f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updraft", required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--dags", default="chain50_bash,chain10_python,fan40_python,map500_bash")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--wide", action="store_true", help="also wide maps, which take a while")
    parser.add_argument("--json", action="store_true", help="figures for programs")
    args = parser.parse_args()
    found = measure(args)
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        report(found)


if __name__ == "__main__":
    main()

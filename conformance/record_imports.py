#!/usr/bin/env python3
"""Compares what comes of the files in `dags_broken` with a recording of Airflow, or records it.

    record_imports.py --url http://localhost:8080 [--record reference/own_imports.json] [--wait 10]

For each file: the Dags that are known from it, and the last line of its import error. Standard library only.
"""

import argparse
import json
import pathlib
import re
import sys
import time

from record import Client

HERE = pathlib.Path(__file__).resolve().parent
REFERENCE = HERE / "reference" / "own_imports.json"
FOLDER = "dags_broken/"


def pages(api, path, key):
    rows = []
    while True:
        page = api("GET", f"{path}?limit=100&offset={len(rows)}")
        rows += page[key]
        if not page[key] or len(rows) >= page["total_entries"]:
            return rows


def relative(path):
    return path.split(FOLDER, 1)[-1]


def last_line(trace):
    """The exception, without addresses and folders of this machine."""
    lines = [line for line in trace.strip().splitlines() if line.strip()] or [""]
    line = re.sub(r"0x[0-9a-f]+", "<address>", lines[-1].strip())
    line = re.sub(r"Faulty task: \S+", "Faulty task: <one of them>", line)
    line = re.sub(r"\{(<DAG: .*>)\}", lambda match: "{" + ", ".join(sorted(match[1].split(", "))) + "}", line)
    return re.sub(r"(/[^\s:'\"]+)+/" + FOLDER, "", line)


def record(api, wait):
    """Reads until nothing new has come for `wait` seconds."""
    seen, since = None, time.monotonic()
    while time.monotonic() - since < wait:
        files = {}
        for dag in pages(api, "/api/v2/dags", "dags"):
            name = dag["relative_fileloc"] or relative(dag["fileloc"])
            files.setdefault(name, {"dags": []})["dags"].append(dag["dag_id"])
        for error in pages(api, "/api/v2/importErrors", "import_errors"):
            entry = files.setdefault(relative(error["filename"]), {"dags": []})
            entry["error"] = last_line(error["stack_trace"])
        for entry in files.values():
            entry["dags"].sort()
        if files != seen:
            seen, since = files, time.monotonic()
        time.sleep(0.5)
    return seen


def compare(wanted, got):
    """Prints what differs; returns the files that agree."""
    agree = []
    for name in sorted(wanted):
        theirs, mine = wanted[name], got.get(name, {"dags": []})
        if theirs == mine:
            agree.append(name)
            continue
        print(f"{name}:")
        for key in ("dags", "error"):
            if theirs.get(key) != mine.get(key):
                print(f"    {key}: {theirs.get(key)!r} wanted, {mine.get(key)!r} got")
    for name in sorted(set(got) - set(wanted)):
        print(f"{name}: not in the recording: {got[name]}")
    return agree


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password", default="admin")
    parser.add_argument("--wait", type=float, default=3)
    parser.add_argument("--record", type=pathlib.Path)
    parser.add_argument("--agreeing", type=pathlib.Path, help="write the names of the files that agree here")
    args = parser.parse_args()
    got = record(Client(args.url, args.user, args.password), args.wait)
    if args.record:
        args.record.write_text(json.dumps(got, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
        print(f"{len(got)} files recorded")
        return
    wanted = json.loads(REFERENCE.read_text())
    agree = compare(wanted, got)
    print(f"{len(agree)} of {len(wanted)} files are imported as by Airflow")
    if args.agreeing:
        args.agreeing.write_text("".join(f"{name}\n" for name in agree))
    sys.exit(len(agree) != len(wanted))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Runs Airflow's own example Dags on Updraft and compares how they end with a recording of Airflow.

    run.py --updraft target/release/updraft --python .venv/bin/python [--dags a,b] [--out got.json]

`expected.txt` lists the Dags that agree; one of them that differs is a failure, and so is one that agrees and is not in
the list: then the list is to be brought up to date. Standard library only.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from server import running  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent


def example_folders(python):
    """The folders of example Dags that the installed packages bring."""
    code = (
        "import importlib.util as u, pathlib as p\n"
        "print(p.Path(u.find_spec('airflow').origin).parent / 'example_dags')\n"
        "print(p.Path(u.find_spec('airflow.providers.standard').origin).parent / 'example_dags')\n"
    )
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.split()[-2:]


def agreeing(reference, got, extra):
    """The Dags that compare.py finds no difference for, one at a time."""
    text = subprocess.run(
        [sys.executable, HERE / "compare.py", reference, got, *extra], capture_output=True, text=True
    ).stdout
    lines = text.splitlines()
    differing = {line.split(":", 1)[0] for line in lines[:-1]}
    wanted = set(json.loads(pathlib.Path(reference).read_text())) - {"__unstable__"}
    return wanted - differing, lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updraft", required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--dags", default="", help="comma-separated Dag ids; default: all of the recording")
    parser.add_argument("--out", help="keep our recording here")
    parser.add_argument("--jobs", default="4")
    parser.add_argument("--timeout", default="60")
    parser.add_argument("--all-fields", action="store_true")
    args = parser.parse_args()
    reference = HERE / "reference" / "example_dags.json"
    recorded = json.loads(reference.read_text())
    dag_ids = [dag for dag in args.dags.split(",") if dag] or sorted(set(recorded) - {"__unstable__"})
    expected = set((HERE / "expected.txt").read_text().split())
    with tempfile.TemporaryDirectory() as scratch:
        out = args.out or f"{scratch}/got.json"
        with running(args.updraft, args.python, example_folders(args.python)) as server:
            server.wait_for_dags(sorted(set(dag_ids) & expected))
            subprocess.run(
                [sys.executable, HERE / "record.py", "--url", server.url, "--out", out, "--dags", ",".join(dag_ids)]
                + ["--jobs", args.jobs, "--timeout", args.timeout],
                check=True,
                stderr=subprocess.DEVNULL if not args.dags else None,
            )
        agree, lines = agreeing(reference, out, ["--all-fields"] if args.all_fields else [])
    agree &= set(dag_ids)
    lost = sorted((expected & set(dag_ids)) - agree)
    won = sorted(agree - expected)
    shown = [line for line in lines[:-1] if line.split(":", 1)[0] in set(dag_ids)]
    if args.dags or lost:
        print("\n".join(line for line in shown if args.dags or line.split(":", 1)[0] in lost))
    print(f"{len(agree)} of {len(dag_ids)} example Dags end as they do on Airflow")
    if won:
        print(f"These agree and are not in expected.txt: {' '.join(won)}")
    if lost:
        print(f"These should agree and do not: {' '.join(lost)}")
    sys.exit(bool(lost))


if __name__ == "__main__":
    main()

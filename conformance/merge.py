#!/usr/bin/env python3
"""Makes one reference of several recordings of Airflow: the first one, and a list of what the others disagree on.

    merge.py first.json second.json [third.json ...] [--racing PATTERN] > reference/own_dags.json

A later recording may hold a few Dags only. Standard library only.
"""

import argparse
import fnmatch
import json
import sys

FIELDS = ("state", "try_number", "max_tries", "operator_name", "pool", "queue", "priority_weight",
          "rendered_map_index", "return_value")  # fmt: skip


def disagreements(dag_id, one, other):
    """The names of what two recordings of a Dag differ in, as compare.py reads them."""
    if one["state"] != other["state"]:
        yield f"{dag_id}/state"
    for task in sorted(set(one["tasks"]) | set(other["tasks"])):
        mine, theirs = one["tasks"].get(task), other["tasks"].get(task)
        if mine is None or theirs is None:
            yield f"{dag_id}/{task}"
            continue
        for field in FIELDS:
            if mine.get(field) != theirs.get(field):
                yield f"{dag_id}/{task}/{field}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", nargs="+")
    parser.add_argument("--racing", action="append", default=[], help="DAG/TASK[-1]/FIELD, with wildcards: unstable too")
    parser.add_argument("--instead", action="append", default=[], help="a recording whose Dags replace the first's")
    args = parser.parse_args()
    first, *others = (json.load(open(path)) for path in args.recordings)
    for path in args.instead:
        first.update(json.load(open(path)))
    unstable = set()
    for other in others:
        for dag_id in set(first) & set(other):
            unstable.update(disagreements(dag_id, first[dag_id], other[dag_id]))
    for dag_id, run in first.items():
        for task in run["tasks"]:
            for field in FIELDS:
                name = f"{dag_id}/{task}/{field}"
                if any(fnmatch.fnmatchcase(name.replace("[-1]", ""), pattern) for pattern in args.racing):
                    unstable.add(name)
    json.dump({"__unstable__": sorted(unstable), **first}, sys.stdout, indent=1, sort_keys=True, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()

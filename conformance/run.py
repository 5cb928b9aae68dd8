#!/usr/bin/env python3
"""Holds Updraft against recordings of Airflow: example Dags, Dags of our own, schedules, broken files, the REST API.

    run.py --updraft target/release/updraft --python .venv/bin/python [--suite own,api] [--dags a,b] [--out FOLDER]

Each suite has a list in `expected/` of what agrees. Something on the list that differs is a failure. Something that agrees and is not on
the list is told, and `--bless` writes the list anew. Standard library only.
"""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import clients  # noqa: E402
from api_cases import USERS  # noqa: E402
from server import running  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
REFERENCE = HERE / "reference"


def example_folders(python):
    """The folders of example Dags that the installed packages bring."""
    code = (
        "import importlib.util as u, pathlib as p\n"
        "print(p.Path(u.find_spec('airflow').origin).parent / 'example_dags')\n"
        "print(p.Path(u.find_spec('airflow.providers.standard').origin).parent / 'example_dags')\n"
    )
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.split()[-2:]


def script(name, *arguments):
    """Runs one of the scripts beside this one; what it prints comes back."""
    command = [sys.executable, HERE / name, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode > 1 or "Traceback" in done.stderr:
        raise SystemExit(f"{name}: {done.stderr or done.stdout}")
    return done.stdout.splitlines()


class Suite:
    """What one suite compared: the names that agree, all names, and the lines that say what differs."""

    def __init__(self, agree, names, differences):
        self.agree, self.names, self.differences = set(agree), set(names), differences


def lines_by_name(lines, names):
    """The compared scripts' lines under the name that each is about: `name: ...`, more of it indented."""
    found, current = {}, None
    for line in lines:
        if not line.startswith(" "):
            current = next((name for name in names if f"{line} ".startswith(f"{name}: ")), None)
        if current is not None:
            found.setdefault(current, []).append(line)
    return found


def dags(args, server, reference, out, prepare):
    """Triggers every Dag of a recording once, and compares how the runs end."""
    wanted = json.loads((REFERENCE / reference).read_text())
    names = [name for name in args.dags.split(",") if name in wanted] or sorted(set(wanted) - {"__unstable__"})
    if prepare:
        script("prepare.py", "--url", server.url)
    server.wait_for_dags_or_rest(names)
    options = ["--jobs", args.jobs, "--timeout", args.timeout]
    script("record.py", "--url", server.url, "--out", out, "--dags", ",".join(names), *options)
    more = ["--all-fields"] if args.all_fields else []
    lines = script("compare.py", REFERENCE / reference, out, "--only", ",".join(names), *more)
    differences = lines_by_name(lines[:-1], set(names))
    return Suite(set(names) - set(differences), names, differences)


def compared(name, server, out, names, *options):
    """A script that makes its requests and compares them itself."""
    lines = script(name, "--url", server.url, "--agreeing", out, *options)
    return Suite(out.read_text().splitlines(), names, lines_by_name(lines[:-1], set(names)))


@contextlib.contextmanager
def with_login(args, more=None):
    """A server that wants a login, with the users of the API suite."""
    with tempfile.TemporaryDirectory(prefix="updraft-users-") as folder:
        passwords = pathlib.Path(folder) / "passwords.json"
        passwords.write_text(json.dumps({user: f"{user}-password" for user in USERS}))
        os.chmod(passwords, 0o600)
        users = {
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            **(more or {}),
        }
        with running(args.updraft, args.python, [HERE / "dags" / "api"], env=users) as server:
            server.log_in("admin", "admin-password")
            yield server


def run_suite(name, args, folder):
    out = folder / f"{name}.json"
    if name == "examples":
        # Not as folders of Dag files: that brings the plugins of the examples, too.
        nothing, examples = folder / "no_dags", {"AIRFLOW__CORE__LOAD_EXAMPLES": "True"}
        nothing.mkdir(exist_ok=True)
        with running(args.updraft, args.python, [nothing], env=examples) as server:
            return dags(args, server, "example_dags.json", out, prepare=False)
    if name == "own":
        with running(args.updraft, args.python, [HERE / "dags"]) as server:
            return dags(args, server, "own_dags.json", out, prepare=True)
    if name == "mapped":
        with running(args.updraft, args.python, [HERE / "dags_mapped"]) as server:
            return dags(args, server, "own_mapped.json", out, prepare=False)
    if name == "schedules":
        names = set(json.loads((REFERENCE / "own_schedules.json").read_text())) - {"__unstable__"}
        with running(args.updraft, args.python, [HERE / "dags_schedules"]) as server:
            server.wait_for_dags_or_rest(names)
            return compared("record_schedules.py", server, out, names)
    if name == "partitions":
        names = set(json.loads((REFERENCE / "own_partitions.json").read_text())) - {"__unstable__"}
        folder = HERE / "dags_partitions"
        plugins = {"AIRFLOW__CORE__PLUGINS_FOLDER": str(folder / "plugins")}
        with running(args.updraft, args.python, [folder], env=plugins) as server:
            server.wait_for_dags_or_rest(names - {"answers"})
            return compared("record_partitions.py", server, out, names)
    if name == "imports":
        files = json.loads((REFERENCE / "own_imports.json").read_text())
        with running(args.updraft, args.python, [HERE / "dags_broken"]) as server:
            server.wait_for_dags_or_rest([dag for entry in files.values() for dag in entry["dags"]])
            return compared("record_imports.py", server, out, files)
    if name == "clients":
        names = [case for cases in (clients.client, clients.ctl) for case in cases.cases]
        with with_login(args, {"AIRFLOW__API__EXPOSE_CONFIG": "True"}) as server:
            server.wait_for_dags_or_rest(["api_runs", "api_failing", "api_weekly", "api_named", "api_required"])
            return compared("clients.py", server, out, names)
    suite = {"api": "main", "login": "login"}[name]
    names = json.loads((REFERENCE / "own_api.json").read_text())[suite]["answers"]
    started = running(args.updraft, args.python, [HERE / "dags" / "api"]) if name == "api" else with_login(args)
    with started as server:
        server.wait_for_dags_or_rest(["api_runs", "api_failing", "api_weekly", "api_named", "api_required"])
        return compared("record_api.py", server, out, names, "--suite", suite)


SUITES = {
    "examples": "example Dags end as they do on Airflow",
    "own": "Dags of our own end as they do on Airflow",
    "mapped": "mapped tasks and groups end as they do on Airflow",
    "schedules": "schedules run as they do on Airflow",
    "partitions": "producers and consumers of partitions run as they do on Airflow",
    "imports": "Dag files are imported as by Airflow",
    "api": "API requests are answered as by Airflow",
    "login": "API requests with a login are answered as by Airflow",
    "clients": "operations of the official clients work",
}


def expected_of(name):
    path = HERE / "expected" / f"{name}.txt"
    return path, set(path.read_text().splitlines()) if path.exists() else set()


def run_twice_if_needed(name, args, folder):
    """A suite's result. What should agree and does not is looked at once more: sensors with timeouts of seconds, for one,
    depend on how busy the machine is. A fault differs both times."""
    result = run_suite(name, args, folder)
    lost = (expected_of(name)[1] & result.names) - result.agree
    if lost and not args.bless:
        again = run_suite(name, args, folder)
        mended = lost & again.agree
        if mended:
            print(f"{name}: at a second look these agree: {', '.join(sorted(mended))}")
        result.agree |= mended
    return result


def judge(name, result, args):
    """Prints what there is to say about a suite; false where something is lost."""
    path, expected = expected_of(name)
    agree = result.agree & result.names
    lost, won = sorted((expected & result.names) - agree), sorted(agree - expected)
    for entry in sorted(result.differences):
        if args.verbose or args.dags or entry in lost:
            print("\n".join(result.differences[entry]))
    print(f"{name}: {len(agree)} of {len(result.names)} {SUITES[name]}", flush=True)
    if args.bless:
        path.write_text("".join(f"{entry}\n" for entry in sorted((expected - result.names) | agree)))
        return True
    if won:
        print(f"  {len(won)} of them are not in expected/{name}.txt; --bless writes it anew")
    if lost:
        print("  these should agree and do not:\n    " + "\n    ".join(entry[:200] for entry in lost))
    return not lost


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updraft", required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--suite", default=",".join(SUITES), help=f"some of {', '.join(SUITES)}; default: all")
    parser.add_argument("--dags", default="", help="comma-separated Dag ids; default: all of a recording")
    parser.add_argument("--out", type=pathlib.Path, help="keep our recordings in this folder")
    parser.add_argument("--jobs", default="4")
    parser.add_argument("--timeout", default="60")
    parser.add_argument("--all-fields", action="store_true", help="compare weights, pools, operators too")
    parser.add_argument("--verbose", action="store_true", help="also show differences that are expected")
    parser.add_argument("--bless", action="store_true", help="write the lists of what agrees anew")
    args = parser.parse_args()
    unknown = set(args.suite.split(",")) - set(SUITES)
    if unknown:
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    good = True
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.out or pathlib.Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in args.suite.split(","):
            good &= judge(name, run_twice_if_needed(name, args, folder), args)
    sys.exit(not good)


if __name__ == "__main__":
    main()

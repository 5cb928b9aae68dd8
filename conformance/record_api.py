#!/usr/bin/env python3
"""Makes the requests of api_cases.py and compares the answers with a recording of Airflow, or records them.

    record_api.py --url http://localhost:8080 [--suite main] [--only TEXT] [--verbose]
    record_api.py --url http://localhost:8080 --suite main --record reference/own_api.json

It runs against any server with the API v2 that has the Dags of `dags/api` loaded and nothing else in its database. The suite `main`
needs a server without login (AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS=True); `login` needs one with the users of
api_cases.USERS (AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS). What differs from one recording to the next (dates, ids,
durations, names of the machine) is replaced by a placeholder for its kind. Where Airflow answers 500, any 4xx agrees.
Standard library only.
"""

import argparse
import collections
import datetime
import difflib
import http.client
import json
import pathlib
import re
import sys
import time
import urllib.parse

from api_cases import NO_BODY, SUITES, USERS

HERE = pathlib.Path(__file__).resolve().parent
REFERENCE = HERE / "reference" / "own_api.json"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
DATE = re.compile(r"(\d{4}-\d\d-\d\d)([T ])\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)?")
RANDOM_END = re.compile(r"(<datetime[^>]*>)_[A-Za-z0-9]{8}\b")
LOG_FILE = re.compile(r"^/.*?/(dag_id=.*\.log)$")
NUMBERS = {"duration", "pid", "id", "job_id", "queued_duration", "last_parse_duration"}
TEXTS = {
    *("hostname", "unixname", "access_token", "file_token", "fileloc", "bundle_url"),
    *("continuation_token", "next_cursor", "previous_cursor"),
}
VERSIONS = {"version", "git_version"}


class Api:
    """Sends cases; a token is fetched the first time that a user needs one."""

    def __init__(self, url, suite):
        parts = urllib.parse.urlsplit(url)
        self.host, self.suite = parts.netloc, suite
        self.tokens = {}

    def send(self, method, path, body=None, headers=()):
        connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            connection.request(method, path, body=body, headers=dict(headers))
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()
        finally:
            connection.close()

    def token(self, user):
        if user not in self.tokens:
            if self.suite == "main":
                status, _, text = self.send("GET", "/auth/token")
            else:
                body = json.dumps({"username": user, "password": f"{user}-password"})
                headers = [("Content-Type", "application/json")]
                status, _, text = self.send("POST", "/auth/token", body, headers)
            if status != 201:
                raise SystemExit(f"no token for {user or 'all'}: {status} {text.decode(errors='replace')}")
            self.tokens[user] = json.loads(text)["access_token"]
        return self.tokens[user]

    def run(self, case):
        headers = {"Accept": "application/json", **dict(case.headers)}
        if self.suite == "main":
            headers["Authorization"] = "Bearer " + self.token("")
        elif case.user:
            token = self.token(case.user) if case.user in USERS else case.user
            headers["Authorization"] = "Bearer " + token
        body = case.raw
        if body is None and case.body is not NO_BODY:
            body = json.dumps(case.body).encode()
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        return self.send(case.method, case.path, body, headers.items())

    def wait(self, case, seconds=120):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status, _, text = self.run(case)
            if status != 200 or json.loads(text).get("state") in case.wait_for.split():
                return
            time.sleep(0.3)


def recent(day):
    """Whether this is a date of the recording, not one that a request or a Dag gave."""
    try:
        distance = datetime.date.fromisoformat(day) - datetime.datetime.now(datetime.timezone.utc).date()
    except ValueError:
        return False
    return -3 <= distance.days <= 15


def plain_text(text):
    def date(match):
        if not recent(match[1]):
            return match[0]
        # The separator and the offset are part of the format, the number of digits is chance.
        return f"<datetime{match[2].strip()}{match[4] or ''}>"

    text = RANDOM_END.sub(r"\1_<random>", DATE.sub(date, UUID.sub("<uuid>", text)))
    return re.sub(r"https://errors\.pydantic\.dev/[\d.]+/", "https://errors.pydantic.dev/<version>/", text)


def plain(value, key=None):
    """The answer with what changes from one recording to the next replaced by a placeholder."""
    if isinstance(value, dict):
        answer = {name: plain(item, name) for name, item in value.items()}
        if {"reason", "statement", "orig_error"} <= set(answer):
            answer["message"] = "<text>"  # where to look this up in the server's log
        return answer
    if key in ("owners", "downstream_task_ids") and isinstance(value, list):
        return sorted(value)
    if isinstance(value, list):
        return [plain(item, key if key == "loc" else None) for item in value]
    if key == "is_encrypted":
        return "<bool>"  # depends on whether a key is configured
    if key in NUMBERS and type(value) in (int, float):
        return f"<{type(value).__name__}>"
    if key in TEXTS and isinstance(value, str):
        return "<text>"
    if key in VERSIONS and isinstance(value, str):
        return "<version>"
    return plain_text(value) if isinstance(value, str) else value


def log_entry(entry):
    entry = {name: plain(item, name) for name, item in entry.items()}
    entry["event"] = LOG_FILE.sub(r"<logs>/\1", entry.get("event", ""))
    if "error_detail" in entry:
        entry["error_detail"] = [
            {"exc_type": detail.get("exc_type"), "exc_value": detail.get("exc_value")}
            for detail in entry["error_detail"]
        ]
    for name in ("filename", "lineno", "loc"):
        if name in entry:
            entry[name] = f"<{name}>"
    return entry


def log_events(content):
    """What a task wrote, by logger, out of a log: the runner's own lines are worded for people and may change, and
    lines of different loggers come in any order."""
    kept = {}
    for entry in content:
        if not isinstance(entry, dict):
            kept.setdefault("plain", []).append(plain(entry))
            continue
        logger, event = entry.get("logger", ""), entry.get("event", "")
        if logger.startswith("task.") or logger.endswith("SubprocessHook") or not logger:
            wanted = True
        else:
            wanted = "error_detail" in entry or event.startswith("::")
        if wanted:
            kept.setdefault(logger, []).append(log_entry(entry))
    return kept


def sort_unordered(body):
    """Lists whose order nobody asked for, by what their entries are."""
    for name in ("dags", "dag_runs", "task_instances", "xcom_entries"):
        if isinstance(body.get(name), list):
            keys = ("dag_id", "dag_run_id", "run_id", "task_id", "map_index", "try_number", "key")
            body[name].sort(key=lambda item: [str(item.get(key)) for key in keys])


def answer(case, status, headers, text):
    """What is recorded of an answer."""
    kind = (headers.get("Content-Type") or "").split(";")[0]
    result = {"status": status}
    if kind and text:
        result["type"] = kind
    for name in ("Location", "WWW-Authenticate"):
        if headers.get(name):
            result[name.lower()] = re.sub(r"https?://[^/]+", "<server>", headers[name])
    if not text:
        return result
    try:
        if kind == "application/x-ndjson":
            body = log_events([json.loads(line) for line in text.decode().splitlines()])
        elif kind == "application/json":
            body = json.loads(text)
            if "/logs/" in case.path and isinstance(body, dict) and isinstance(body.get("content"), list):
                body = {**plain(body), "content": log_events(body["content"])}
            else:
                body = plain(body)
            if isinstance(body, dict) and "order_by" not in case.name:
                sort_unordered(body)
        else:
            body = "<page>" if kind == "text/html" else plain_text(text.decode())
    except ValueError:
        body = "not JSON: " + text.decode(errors="replace")[:500]
    result["body"] = body
    return result


def record(api, cases, only):
    """The answers by the names of their cases. A case that is made again is numbered."""
    answers, seen = {}, collections.Counter()
    for case in cases:
        if case.wait_for:
            api.wait(case)
            continue
        seen[case.name] += 1
        name = case.name if seen[case.name] == 1 else f"{case.name} #{seen[case.name]}"
        try:
            answers[name] = answer(case, *api.run(case))
        except (OSError, http.client.HTTPException) as error:
            answers[name] = {"status": f"no answer: {type(error).__name__}: {error}"}
    return {name: got for name, got in answers.items() if only in name}


def written(value):
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True).splitlines()


def compare(wanted, unstable, got, verbose):
    """Prints what differs; returns the names that agree and the names whose status does."""
    agree, same_status = [], []
    for name, mine in got.items():
        theirs = wanted.get(name)
        if theirs is None:
            print(f"not in the recording: {name}")
            continue
        if name in unstable:
            theirs, mine = {"status": theirs["status"]}, {"status": mine["status"]}
        if theirs.get("status") == mine.get("status"):
            same_status.append(name)
        crashed = theirs.get("status") == 500 and isinstance(mine["status"], int) and 400 <= mine["status"] < 500
        if theirs == mine or crashed:  # where Airflow crashes, any refusal is right
            agree.append(name)
            continue
        print(f"{name}: {theirs['status']} wanted, {mine['status']} got")
        lines = list(difflib.unified_diff(written(theirs), written(mine), "airflow", "here", lineterm="", n=1))[2:]
        for line in lines if verbose else lines[:14]:
            print("    " + line[:300])
        if not verbose and len(lines) > 14:
            print(f"    ... {len(lines) - 14} lines more")
    return agree, same_status


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--suite", choices=sorted(SUITES), default="main")
    parser.add_argument("--only", default="", help="compare only requests with this in their name; all are made")
    parser.add_argument("--verbose", action="store_true", help="whole differences")
    parser.add_argument("--reference", type=pathlib.Path, default=REFERENCE)
    parser.add_argument("--agreeing", type=pathlib.Path, help="write the names of the requests that agree here")
    parser.add_argument("--record", type=pathlib.Path, help="write the answers into this recording instead")
    parser.add_argument("--again", action="store_true", help="with --record: note where the recording disagrees")
    args = parser.parse_args()
    got = record(Api(args.url, args.suite), SUITES[args.suite], args.only)
    path = args.record or args.reference
    recording = json.loads(path.read_text()) if path.exists() else {}
    if args.record:
        suite = recording.setdefault(args.suite, {})
        if args.again:
            before = suite["answers"]
            suite["unstable"] = sorted({*suite["unstable"], *(n for n in got if got[n] != before.get(n))})
            compare(before, set(), got, args.verbose)
        else:
            suite.update(answers=got, unstable=[])
        path.write_text(json.dumps(recording, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
        print(f"{len(got)} answers recorded, {len(suite['unstable'])} of them unstable")
        return
    suite = recording[args.suite]
    agree, same_status = compare(suite["answers"], set(suite["unstable"]), got, args.verbose)
    print(f"{len(agree)} of {len(got)} requests of {args.suite} agree, {len(same_status)} in their status")
    if args.agreeing:
        args.agreeing.write_text("".join(f"{name}\n" for name in agree))
    sys.exit(len(agree) != len(got))


if __name__ == "__main__":
    main()

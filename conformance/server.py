"""Starts the binary under test for scripts: a home of its own, a free port, no login."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url, timeout=10, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=timeout) as reply:
        return json.load(reply)


class Server:
    """A running `updraft standalone`."""

    def __init__(self, process, url, home, log):
        self.process, self.url, self.home, self.log = process, url, home, log
        self._token = None

    def token(self):
        if self._token is None:
            self._token = get(self.url + "/auth/token")["access_token"]
        return self._token

    def log_in(self, name, password):
        """For a server with users: their token is the one that later calls send."""
        body = json.dumps({"username": name, "password": password}).encode()
        request = urllib.request.Request(self.url + "/auth/token", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as reply:
            self._token = json.load(reply)["access_token"]

    def get(self, path):
        return get(self.url + path, token=self.token())

    def wait_until_ready(self, seconds):
        deadline = time.monotonic() + seconds
        while True:
            try:
                return get(self.url + "/api/v2/monitor/health")
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the server did not start:\n{self.tail()}") from None
                time.sleep(0.002)

    def wait_for_dags(self, wanted, seconds=120):
        """Waits until every one of these Dag ids is known."""
        missing, deadline = set(wanted), time.monotonic() + seconds
        while missing:
            for dag_id in list(missing):
                try:
                    self.get(f"/api/v2/dags/{dag_id}")
                    missing.discard(dag_id)
                except urllib.error.HTTPError as error:
                    if error.code != 404:
                        raise
                    break
            if missing and time.monotonic() > deadline:
                raise SystemExit(f"Dags were not imported in {seconds} s: {', '.join(sorted(missing))}\n{self.tail()}")
            if missing:
                time.sleep(0.1)

    def wait_for_dags_or_rest(self, wanted, rest=20, seconds=180):
        """Waits until every one of these Dag ids is known, or some are and no new one has come for `rest` seconds."""
        known, changed, deadline = set(), time.monotonic(), time.monotonic() + seconds
        while set(wanted) - known and time.monotonic() < (min(changed + rest, deadline) if known else deadline):
            found, more = set(), True
            while more:
                try:
                    page = self.get(f"/api/v2/dags?limit=100&offset={len(found)}&order_by=dag_id")
                except OSError as error:
                    raise SystemExit(f"the server does not answer: {error}\n{self.tail()}") from None
                # One that comes while the pages are turned shifts them: the next round finds it.
                more = {dag["dag_id"] for dag in page["dags"]} - found and len(found) + len(page["dags"]) < page["total_entries"]
                found |= {dag["dag_id"] for dag in page["dags"]}
            if found != known:
                known, changed = found, time.monotonic()
            time.sleep(0.2)

    def tail(self, lines=30):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()


@contextlib.contextmanager
def running(updraft, python, dags, home=None, env=None, ready_within=30):
    """Starts a server on `dags` (folders) and ends it with the block."""
    with tempfile.TemporaryDirectory(prefix="updraft-") as scratch:
        home = pathlib.Path(home or scratch)
        port = free_port()
        log = pathlib.Path(scratch) / "server.log"
        command = [updraft, "standalone", "--home", home, "--port", str(port), "--python", python]
        for folder in dags:
            command += ["--dags", folder]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            **(env or {}),
        }
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [str(part) for part in command], stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment
            )
        server = Server(process, f"http://127.0.0.1:{port}", home, log)
        try:
            server.wait_until_ready(ready_within)
            yield server
        finally:
            server.stop()

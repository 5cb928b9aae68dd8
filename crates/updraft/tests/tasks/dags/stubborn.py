"""Tasks that wait for a file, and leave all kinds of processes behind. Each process says who it is in a file."""

import os
import signal
import subprocess
import time
from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, BaseOperator, task

SHELL = "trap '' TERM; echo $$ >> $FOLDER/pids; until [ -e $FOLDER/go ]; do sleep 0.05; done"


def here(folder):
    with open(Path(folder) / "pids", "a") as file:
        file.write(f"{os.getpid()}\n")


def wait_for_go(folder):
    while not (Path(folder) / "go").exists():
        time.sleep(0.05)


class Careful(BaseOperator):
    """Cleans up when it is asked to end."""

    template_fields = ("folder",)

    def __init__(self, folder, **kwargs):
        super().__init__(**kwargs)
        self.folder = folder

    def execute(self, context):
        here(self.folder)
        wait_for_go(self.folder)

    def on_kill(self):
        self.log.info("cleaning up")
        (Path(self.folder) / "cleaned").write_text("yes")
        os._exit(1)


def build(dag_id, **kwargs):
    with DAG(dag_id, params={"folder": "/nowhere"}, **kwargs) as dag:

        @task
        def waits(params=None):
            here(params["folder"])
            wait_for_go(params["folder"])
            return "done"

        @task
        def is_deaf(params=None):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            here(params["folder"])
            wait_for_go(params["folder"])

        @task
        def has_a_copy(params=None):
            """A copy that detaches itself twice."""
            if os.fork() == 0:
                os.setsid()
                if os.fork():
                    os._exit(0)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                here(params["folder"])
                wait_for_go(params["folder"])
                os._exit(0)
            wait_for_go(params["folder"])

        @task
        def has_a_program(params=None):
            env = {**os.environ, "FOLDER": params["folder"]}
            subprocess.Popen(["sh", "-c", SHELL], start_new_session=True, env=env)
            wait_for_go(params["folder"])

        waits()
        is_deaf()
        has_a_copy()
        has_a_program()
        Careful(task_id="careful", folder="{{ params.folder }}")
        env = {"FOLDER": "{{ params.folder }}"}
        BashOperator(task_id="bash", bash_command=SHELL, env=env, append_env=True)
        daemon = f'setsid sh -c "$BODY" < /dev/null > /dev/null 2>&1 & {SHELL}'
        BashOperator(task_id="bash_daemon", bash_command=daemon, env={**env, "BODY": SHELL}, append_env=True)
    return dag


# Eight processes say who they are.
patient = build("patient")
hasty = build("hasty", dagrun_timeout=timedelta(seconds=4))

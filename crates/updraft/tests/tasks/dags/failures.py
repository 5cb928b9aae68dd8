"""Tasks that end in every bad way there is."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

NO_DELAY = {"retries": 1, "retry_delay": timedelta(0)}

with DAG("failures"):

    @task(**NO_DELAY)
    def raises():
        raise ValueError("no luck")

    @task(retries=2, retry_delay=timedelta(0))
    def third_time_lucky(ti=None):
        print("try", ti.try_number, "of", ti.max_tries + 1)
        if ti.try_number < 3:
            raise AirflowException(f"not at try {ti.try_number}")
        return ti.try_number

    @task(**NO_DELAY)
    def fails_for_good():
        raise AirflowFailException("never again")

    @task
    def skips():
        raise AirflowSkipException("not today")

    @task(**NO_DELAY)
    def exits():
        sys.exit(3)

    @task
    def exits_with_success():
        os._exit(0)

    @task
    def exits_at_once():
        os._exit(7)

    @task(**NO_DELAY)
    def is_killed(ti=None):
        if ti.try_number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return "survived"

    @task
    def crashes():
        ctypes.string_at(0)

    @task
    def speaks_nonsense():
        os.write(0, b"\xff\xff\xff\xff nonsense")
        time.sleep(600)

    @task
    def speaks_half_nonsense():
        os.write(0, b"\x00\x00\x00\x05hello")
        time.sleep(600)

    @task
    def closes_the_connection():
        os.closerange(0, 256)
        return 1

    @task
    def closes_the_connection_and_hangs():
        os.closerange(0, 256)
        time.sleep(600)

    @task
    def leaves_a_daemon():
        """A copy of the task that detaches itself, and keeps everything open."""
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            time.sleep(600)
            os._exit(0)
        return "left"

    @task
    def leaves_a_program():
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        os.kill(os.getpid(), signal.SIGKILL)

    @task(execution_timeout=timedelta(seconds=0.5))
    def takes_too_long():
        time.sleep(600)

    @task
    def writes_a_lot():
        block = (b"x" * 99 + b"\n") * 10_000
        for _ in range(70):
            os.write(1, block)
        os.write(2, b"y" * 5_000_000)
        return "written"

    @task(**NO_DELAY)
    def kills_the_fork_server(ti=None):
        if ti.try_number == 1:
            time.sleep(0.2)
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(600)
        return ti.try_number

    first = [
        raises(),
        third_time_lucky(),
        fails_for_good(),
        skips(),
        exits(),
        exits_with_success(),
        exits_at_once(),
        is_killed(),
        crashes(),
        speaks_nonsense(),
        speaks_half_nonsense(),
        closes_the_connection(),
        closes_the_connection_and_hangs(),
        leaves_a_daemon(),
        leaves_a_program(),
        takes_too_long(),
        writes_a_lot(),
    ]

    @task(trigger_rule="all_done")
    def then():
        return "done"

    first >> then() >> kills_the_fork_server()

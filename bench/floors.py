"""What the machine can do at best, for the benchmark to stand beside. Standard library only."""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time


def median_ms(samples):
    return statistics.median(samples) * 1000


def bash_chain(length=50, rounds=3):
    """Seconds for `length` shells, one after the other: nothing that runs bash tasks in a chain can be quicker."""
    bash = shutil.which("bash")
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(length):
            os.waitpid(os.posix_spawn(bash, [bash, "-c", "true"], os.environ), 0)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def fsync_ms(folder, count=200):
    """Milliseconds for one small write that is safe on the disk."""
    with tempfile.TemporaryFile(dir=folder) as file:
        samples = []
        for _ in range(count):
            start = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
            samples.append(time.perf_counter() - start)
    return median_ms(samples)


WARM_FORK = """
import gc, importlib, json, os, time
for module in ("airflow.sdk.execution_time.task_runner", "airflow.sdk.execution_time.supervisor",
               "airflow.dag_processing.processor", "airflow.providers.standard.operators.python"):
    importlib.import_module(module)
gc.collect(); gc.freeze()
samples = []
for _ in range(40):
    start = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    samples.append(time.perf_counter() - start)
print(json.dumps(samples))
"""


def warm_fork_ms(python):
    """Milliseconds for a child of a Python process that has the Task SDK imported, from fork to its end."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "AIRFLOW_HOME": home}
        output = subprocess.run([python, "-c", WARM_FORK], check=True, capture_output=True, text=True, env=environment)
    return median_ms(json.loads(output.stdout.splitlines()[-1]))

"""The Python side of Updraft: one warm process that forks a child for every task and for every Dag file to import.

Started by the engine with a SOCK_SEQPACKET socket as file descriptor 0. Every message is one packet of JSON; a request
brings the file descriptors of its child. What runs in a child is the official code: the task runner and the Dag
importer of the installed Airflow packages, spoken to over their own frames.

Engine to helper:
    {"op": "task", "id": N, "env": {...}}      with 4 descriptors: requests, stdout, stderr, logs
    {"op": "import", "id": N, "memory": BYTES} with the same 4
    {"op": "triggers", "id": N}                with the same 4
    {"op": "callback", "id": N}                with the same 4
    {"op": "evaluate", "id": N}                with the same 4
    {"op": "bundle", "id": N}                  with the same 4
Helper to engine:
    {"op": "ready", "bundles": [...], ...}      once, when everything is warm
    {"op": "forked", "id": N, "pid": P}         or {"op": "failed", "id": N, "error": TEXT}
    {"op": "exited", "pid": P, "status": S}     S as waitpid gives it
"""

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys

# Longest packet that is read; requests are small.
MAX_PACKET = 1 << 18
# Modules that nearly every task needs. What is missing (an optional provider) is left to the child.
WARM_MODULES = (
    "airflow.sdk.execution_time.task_runner",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.context",
    "airflow.dag_processing.processor",
    "airflow.dag_processing.dagbag",
    "airflow.dag_processing.importers.python_importer",
    "airflow.dag_processing.bundles.manager",
    "airflow.dag_processing.bundles.local",
    "airflow.providers.standard.operators.bash",
    "airflow.providers.standard.operators.python",
    "airflow.providers.standard.operators.empty",
    "airflow.providers.standard.decorators.python",
    "airflow.providers.standard.decorators.bash",
    "airflow.sdk.definitions.decorators",
    "airflow.sdk.definitions.decorators.condition",
    "airflow.sdk.definitions.decorators.setup_teardown",
    "airflow.sdk.definitions.decorators.task_group",
    "airflow.sdk.definitions.asset.metadata",
    "airflow.sdk.bases.sensor",
    "airflow.sdk._shared.logging.remote",
    "airflow.sdk._shared.logging.factory",
    "airflow.timetables.trigger",
    "airflow.timetables.interval",
    "airflow.timetables.simple",
    "jinja2.ext",
    "jinja2.sandbox",
    "jinja2.nativetypes",
    "setproctitle",
    "concurrent.futures.thread",
    "encodings.idna",
    "json.decoder",
    "tempfile",
    "pickle",
)


# What the plugins folder was like when its plugins were loaded.
plugins_signature = ()


def warm_up():
    """Import and cache whatever every child would otherwise do again for itself; returns the configured bundles."""
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "client"
    for module in WARM_MODULES:
        try:
            importlib.import_module(module)
        except ImportError:
            pass
    from airflow.sdk.execution_time import comms
    from pydantic import TypeAdapter

    # A validator depends on nothing but its type; building one costs milliseconds, and every child wants the same.
    built = {}

    def adapter(type_, *args, **kwargs):
        if args or kwargs:
            return TypeAdapter(type_, *args, **kwargs)
        key = id(type_)
        if key not in built:
            built[key] = (TypeAdapter(type_), type_)
        return built[key][0]

    adapter(comms.ToTask)
    comms.TypeAdapter = adapter
    from airflow.dag_processing.importers import python_importer

    python_importer.signal = SignalsForImport()
    from airflow.sdk.plugins_manager import integrate_macros_plugins

    import updraft_bundles
    import updraft_plugins

    global plugins_signature
    plugins_signature = updraft_plugins.signature()
    integrate_macros_plugins()
    return updraft_bundles.configured()


class SignalsForImport:
    """The signal module as Airflow's importer gets it: without its handler for SIGSEGV.

    That handler returns to the instruction that failed, which fails again: the process would never end.
    """

    def __getattr__(self, name):
        return getattr(signal, name)

    def signal(self, number, handler):
        if number != signal.SIGSEGV:
            signal.signal(number, handler)


class Helper:
    """The parent of every child."""

    def __init__(self, control):
        self.control = control
        self.children = set()

    def send(self, **message):
        self.control.send(json.dumps(message).encode())

    def serve(self):
        wake_read, wake_write = os.pipe()
        for fd in (wake_read, wake_write):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        selector = selectors.DefaultSelector()
        selector.register(self.control, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        self.inherited = (selector, wake_read, wake_write)
        while True:
            for key, _ in selector.select():
                if key.fileobj is self.control:
                    if not self.request():
                        return
                else:
                    try:
                        os.read(wake_read, 4096)
                    except BlockingIOError:
                        pass
            self.reap()

    def request(self):
        packet, fds, _, _ = socket.recv_fds(self.control, MAX_PACKET, 8)
        if not packet:
            return False
        message = json.loads(packet)
        targets = {
            "task": run_task,
            "import": run_import,
            "triggers": run_triggers,
            "callback": run_callback,
            "evaluate": run_evaluate,
            "bundle": run_bundle,
        }
        target = targets[message["op"]]
        sockets = [socket.socket(fileno=fd) for fd in fds]
        try:
            pid = os.fork()
        except OSError as error:
            self.send(op="failed", id=message["id"], error=f"fork: {error}")
            return True
        finally_close = sockets
        if pid == 0:
            self.become_child(target, message, sockets)
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass
        for sock in finally_close:
            sock.close()
        self.children.add(pid)
        self.send(op="forked", id=message["id"], pid=pid)
        return True

    def become_child(self, target, message, sockets):
        """Never returns."""
        code = 124
        try:
            try:
                os.setpgid(0, 0)
            except OSError:
                pass
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            name_process(f"updraft {message['op']}")
            selector, wake_read, wake_write = self.inherited
            selector.close()
            os.close(wake_read)
            os.close(wake_write)
            # Descriptor 0 becomes the child's request socket; the helper's own end must not stay open beside it.
            self.control.close()
            gc.enable()
            target(message, *sockets)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)

    def reap(self):
        while self.children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.children:
                self.children.discard(pid)
                self.send(op="exited", pid=pid, status=status)


def name_process(name):
    """What `ps` and `top` call it; the system keeps the first 15 characters."""
    try:
        with open("/proc/self/comm", "w") as comm:
            comm.write(name)
    except OSError:
        pass


def run_task(message, requests, stdout, stderr, logs):
    """One attempt, by the official task runner."""
    from airflow.sdk.execution_time import supervisor

    os.environ.update(message.get("env") or {})
    refresh_plugins()
    reseed_random()
    supervisor._fork_main(requests, stdout, stderr, logs.fileno(), supervisor._subprocess_main)


def reseed_random():
    """Children must not share the random numbers of a library that the parent happens to have imported."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def run_import(message, requests, stdout, stderr, logs):
    """One Dag file, by the official importer."""
    from airflow.sdk.execution_time import supervisor

    import updraft_import

    refresh_plugins()
    limit_memory(message.get("memory"))
    supervisor._fork_main(requests, stdout, stderr, logs.fileno(), updraft_import.main)


def run_triggers(message, requests, stdout, stderr, logs):
    """All triggers, by the official trigger runner."""
    from airflow.sdk.execution_time import supervisor

    # Not warmed up: one child at a time needs these, and most engines never do.
    import updraft_triggers

    refresh_plugins()
    reseed_random()
    supervisor._fork_main(requests, stdout, stderr, logs.fileno(), updraft_triggers.main)


def run_callback(message, requests, stdout, stderr, logs):
    """A callback of a Dag or a task, by the official Dag processor."""
    from airflow.sdk.execution_time import supervisor

    import updraft_callbacks

    reseed_random()
    supervisor._fork_main(requests, stdout, stderr, logs.fileno(), updraft_callbacks.main)


def run_evaluate(message, requests, stdout, stderr, logs):
    """Timetables of plugins, one question after the other."""
    from airflow.sdk.execution_time import supervisor

    import updraft_evaluate

    refresh_plugins()
    reseed_random()
    supervisor._fork_main(requests, stdout, stderr, logs.fileno(), updraft_evaluate.main)


def run_bundle(message, requests, stdout, stderr, logs):
    """A Dag bundle that has to be fetched, by its official class."""
    from airflow.sdk.execution_time import supervisor

    import updraft_bundles

    reseed_random()
    supervisor._fork_main(requests, stdout, stderr, logs.fileno(), updraft_bundles.main)


def refresh_plugins():
    """A plugin that was changed since this process is warm is loaded anew."""
    import updraft_plugins

    try:
        updraft_plugins.refresh(plugins_signature)
    except Exception:
        import traceback

        # What is wrong with a plugin is said where it is needed.
        traceback.print_exc()


def limit_memory(limit):
    """Private memory beyond which allocation fails with MemoryError, which names the line that asked for it."""
    if limit:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def main():
    control = socket.socket(fileno=os.dup(0))
    # Descriptor 0 stays taken, so that nothing else gets that number by accident.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    helper = Helper(control)
    try:
        bundles = warm_up()
        import updraft_import  # noqa: F401
    except BaseException as error:
        import traceback

        traceback.print_exc()
        helper.send(op="broken", error=f"{type(error).__name__}: {error}")
        sys.exit(1)
    from importlib.metadata import PackageNotFoundError, version

    packages = {}
    for package in ("apache-airflow-core", "apache-airflow-task-sdk", "apache-airflow-providers-standard"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            pass
    gc.collect()
    gc.freeze()
    gc.disable()
    helper.send(
        op="ready", pid=os.getpid(), python=sys.version.split()[0], packages=packages, bundles=bundles
    )
    helper.serve()


if __name__ == "__main__":
    main()

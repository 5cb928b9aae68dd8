"""Import one Dag file with the official importer, and tell the engine what its serialized form leaves out.

Two things go beyond the official result: what the engine needs to run simple operators itself, and which files and
folders the import read, so that a change of any of them imports the file again.
"""

import os
import re
import sys

import updraft_plugins

# Reads below these places say nothing about the user's files.
IGNORED_PREFIXES = ("/proc/", "/sys/", "/dev/", "/usr/share/zoneinfo/", "/etc/")
# Dependencies that are reported; a file that reads more is followed as far as that.
MAX_DEPENDENCIES = 2000


class Reads:
    """What an import depends on, outside of the Python installation: every file that is opened for reading, every folder
    that is listed, and the places where a module was looked for and not found."""

    def __init__(self):
        self.files = {}
        self.folders = {}
        self.modules = {}
        prefixes = {os.path.realpath(p) + os.sep for p in (sys.prefix, sys.base_prefix, os.path.dirname(os.__file__))}
        self.ignored = tuple(prefixes | {os.path.dirname(os.path.abspath(__file__)) + os.sep}) + IGNORED_PREFIXES
        self.known_modules = set(sys.modules)
        self.active = False

    def start(self):
        self.active = True
        sys.addaudithook(self.hook)

    def hook(self, event, args):
        if not self.active:
            return
        try:
            if event == "open":
                path, mode, _flags = args
                if isinstance(path, (str, bytes)) and (mode is None or not set(str(mode)) & set("wax+")):
                    self.note(self.files, path)
            elif event in ("os.listdir", "os.scandir"):
                # The import system lists whole folders to find one name; what it looked for is noted as such.
                if "importlib" not in sys._getframe(1).f_code.co_filename:
                    self.note(self.folders, args[0] if args[0] is not None else ".")
            elif event == "import" and len(self.modules) < MAX_DEPENDENCIES:
                self.modules[args[0]] = None
        except Exception:
            # A hook that raises would break the user's code.
            pass

    def note(self, places, path):
        if isinstance(path, (str, bytes, os.PathLike)) and len(places) < MAX_DEPENDENCIES:
            places[os.path.abspath(os.fsdecode(path))] = None

    def note_missing_modules(self):
        """A module that turns up where it was looked for may be what the file lacks."""
        for name in self.modules:
            if name in sys.modules or not isinstance(name, str):
                continue
            parent, _, last = name.rpartition(".")
            places = getattr(sys.modules.get(parent), "__path__", ()) if parent else sys.path
            for place in [place for place in places if isinstance(place, str) and os.path.isdir(place)]:
                self.note(self.files, os.path.join(place, last + ".py"))
                self.note(self.files, os.path.join(place, last, "__init__.py"))

    def note_plugins(self):
        """What plugins register decides whether a Dag can be serialized, and what becomes of it."""
        if not updraft_plugins.were_loaded():
            return
        top = updraft_plugins.folder()
        if top:
            self.note(self.folders, top)
        for path, _, _ in updraft_plugins.signature():
            self.note(self.files, path)
            self.note(self.folders, os.path.dirname(path))

    def result(self, own_file):
        self.active = False
        self.note_plugins()
        for name in set(sys.modules) - self.known_modules:
            path = getattr(sys.modules.get(name), "__file__", None)
            if isinstance(path, str):
                self.note(self.files, path)
        self.note_missing_modules()
        keep = lambda path: (  # noqa: E731
            path != own_file
            and "__pycache__" not in path
            and not os.path.realpath(path).startswith(self.ignored)
            and not path.startswith(self.ignored)
        )
        files = [path for path in self.files if keep(path)]
        # A path through an archive stands for the archive.
        files = list(dict.fromkeys(archive_of(path) for path in files))
        return sorted(path for path in files if path != own_file), sorted(filter(keep, self.folders))


def archive_of(path):
    head, found, _ = path.partition(".zip" + os.sep)
    return head + ".zip" if found else path


def main():
    """Entry point in the child: as the official one, with the two additions."""
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "client"
    import structlog
    from airflow.dag_processing import processor
    from airflow.sdk.execution_time import comms, task_runner
    from pydantic import TypeAdapter

    updraft_plugins.forget_modules()
    decoder = comms.CommsDecoder(body_decoder=TypeAdapter(processor.ToDagProcessor))
    request = decoder._get_response()
    task_runner.SUPERVISOR_COMMS = decoder
    reads = Reads()
    extras = {}
    serialize_dags = processor._serialize_dags

    def serialize_and_describe(bag, log):
        for dag in bag.dags.values():
            extras[dag.dag_id] = describe_dag(dag)
            name_weight_rules(dag)
        return serialize_dags(bag, log)

    processor._serialize_dags = serialize_and_describe
    own_pid = os.getpid()
    reads.start()
    result = processor._parse_file(request, structlog.get_logger(logger_name="task"))
    if os.getpid() != own_pid:
        # The file forked, and this is the copy: only the original speaks for the file.
        os._exit(0)
    files, folders = reads.result(os.path.abspath(request.file))
    send_raw(decoder, {"type": "UpdraftImportDetails", "dags": extras, "files": files, "folders": folders})
    if result is not None:
        decoder.send(result)


def send_raw(decoder, body):
    """A frame that is none of the official messages; it is answered like any other."""
    from airflow.sdk.execution_time.comms import _RequestFrame

    decoder.socket.sendall(_RequestFrame(id=next(decoder.id_counter), body=body).as_bytes())
    decoder._get_response()


def describe_dag(dag):
    reason = python_only_dag(dag)
    tasks = {}
    for task in dag.tasks:
        try:
            tasks[task.task_id] = describe_task(task, reason)
        except Exception as error:
            tasks[task.task_id] = {"python": f"its operator can't be examined ({type(error).__name__}: {error})"}
    described = {"tasks": tasks, "listeners": hooks_of_listeners()}
    try:
        timetable = describe_timetable(dag.timetable)
    except Exception:
        # The official serialization says what is wrong with it.
        timetable = None
    return described if timetable is None else {**described, "timetable": timetable}


def name_weight_rules(dag):
    """A mapped task would be serialized with the text of its strategy, which has an address in memory in it."""
    for task in dag.tasks:
        rule = getattr(task, "partial_kwargs", {}).get("weight_rule")
        if hasattr(rule, "get_weight"):
            task.partial_kwargs["weight_rule"] = f"{type(rule).__module__}.{type(rule).__qualname__}"


def describe_timetable(timetable):
    """What the engine must know of a timetable from a plugin, or of the one inside of an asset-or-time schedule."""
    from airflow.sdk import AssetOrTimeSchedule
    from airflow.serialization.decoders import decode_timetable
    from airflow.serialization.encoders import encode_asset_like, encode_timetable
    from airflow.timetables.assets import AssetOrTimeSchedule as CoreAssetOrTimeSchedule

    if isinstance(timetable, (AssetOrTimeSchedule, CoreAssetOrTimeSchedule)):
        timetable = timetable.timetable
    if type(timetable).__module__.startswith(("airflow.timetables.", "airflow.sdk.")):
        return None
    timetable = decode_timetable(encode_timetable(timetable))
    condition = timetable.asset_condition
    return {
        "summary": str(timetable.summary),
        "description": str(timetable.description),
        "periodic": bool(timetable.periodic),
        "can_be_scheduled": bool(timetable.can_be_scheduled),
        "active_runs_limit": timetable.active_runs_limit,
        "partitioned": bool(timetable.partitioned),
        "partitioned_at_runtime": bool(timetable.partitioned_at_runtime),
        "asset_condition": encode_asset_like(condition) if condition else None,
    }


def python_only_dag(dag):
    """Why every task of this Dag needs Python, or None."""
    from airflow.sdk.listener import get_listener_manager

    if get_listener_manager().has_listeners:
        return "listeners from plugins are called by the task runner"
    if runs_as_another():
        return "[core] default_impersonation says who runs tasks"
    if dag.user_defined_macros:
        return "the Dag has user_defined_macros"
    if dag.user_defined_filters:
        return "the Dag has user_defined_filters"
    if dag.jinja_environment_kwargs:
        return "the Dag has jinja_environment_kwargs"
    if getattr(dag.template_undefined, "__name__", "") != "StrictUndefined":
        return "the Dag has a template_undefined of its own"
    if dag.render_template_as_native_obj:
        return "the Dag renders templates as native objects"
    if adds_context_variables():
        return "airflow_local_settings or a plugin adds context variables"
    return None


def runs_as_another():
    from airflow.sdk.configuration import conf

    return bool(conf.get("core", "default_impersonation", fallback=None))


# What Airflow's own processes tell listeners of plugins.
HOOKS = ("on_dag_run_running", "on_dag_run_success", "on_dag_run_failed", "on_asset_changed", "on_asset_event_emitted")


def hooks_of_listeners():
    """The hooks among them that some plugin implements."""
    from airflow.listeners.listener import get_listener_manager

    hook = get_listener_manager().hook
    return [name for name in HOOKS if getattr(hook, name).get_hookimpls()]


def adds_context_variables():
    """Whether anybody but Airflow itself answers the hook."""
    from airflow import settings

    hook = settings.get_policy_plugin_manager().hook.get_airflow_context_vars
    return len(hook.get_hookimpls()) > 1


# Attributes that only the official task runner can honour, and how a value that needs it is recognised.
RUNNER_ATTRIBUTES = {
    "run_as_user": "it has run_as_user",
    "retry_policy": "it has a retry_policy",
    "on_execute_callback": "it has an on_execute_callback",
    "on_success_callback": "it has an on_success_callback",
    "on_failure_callback": "it has an on_failure_callback",
    "on_retry_callback": "it has an on_retry_callback",
    "on_skipped_callback": "it has an on_skipped_callback",
    "_pre_execute_hook": "it has a pre_execute hook",
    "_post_execute_hook": "it has a post_execute hook",
    "map_index_template": "it has a map_index_template",
    "render_template_as_native_obj": "it renders templates as native objects",
    "operator_extra_links": "it has extra links",
}


def describe_task(task, dag_reason):
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk.definitions.mappedoperator import MappedOperator

    if isinstance(task, MappedOperator):
        return describe_mapped(task, dag_reason)
    if type(task) is not BashOperator:
        return {}
    reason = dag_reason or python_only_task(task)
    if not reason and next(task.iter_mapped_dependants(), None) is not None:
        # A text can't be mapped over, and Airflow says so in its own way.
        reason = "another task maps over what it returns"
    if reason:
        return {"python": reason}
    return {"bash": describe_bash(task)}


def describe_bash(task):
    return {
        "bash_command": task.bash_command,
        "env": task.env,
        "append_env": bool(task.append_env),
        "cwd": task.cwd,
        "skip_on_exit_code": list(task.skip_on_exit_code),
    }


def has_secrets_backend():
    """Whether somebody else than the environment and the engine is asked for variables and connections."""
    from airflow.sdk.configuration import conf

    options = (("secrets", "backend"), ("workers", "secrets_backend"))
    return any(conf.get(section, key, fallback=None) for section, key in options)


def asks_for_secrets(task):
    """Whether a template may read a variable or a connection."""
    texts = [task.bash_command, task.cwd or "", *(task.env or {}).values()]
    return any("{" in text and re.search(r"\b(var|conn|macros)\b", text) for text in texts)


# What the engine can map over: the names of the operator's own arguments.
BASH_ARGUMENTS = ("bash_command", "env", "append_env", "cwd", "skip_on_exit_code")


def describe_mapped(task, dag_reason):
    """A mapped task; what it maps over is in the serialized Dag."""
    from airflow.providers.standard.operators.bash import BashOperator

    if task.operator_class is not BashOperator:
        return {}
    given = task.partial_kwargs
    # The operator as it would be with an empty command: what is wrong with it is wrong with every instance.
    own = {name: given[name] for name in (*BASH_ARGUMENTS, "output_encoding", "output_processor") if name in given}
    model = BashOperator(**{"task_id": "model", "bash_command": "", **own})
    reason = dag_reason or python_only_mapped(task) or python_only_task(model)
    if reason:
        return {"python": reason}
    return {"bash": {**describe_bash(model), "given": sorted(set(given) & set(BASH_ARGUMENTS))}}


def python_only_mapped(task):
    """What `python_only_task` can't see in an operator that was made without the arguments of all operators."""
    names = {"_pre_execute_hook": "pre_execute", "_post_execute_hook": "post_execute"}
    for attribute, reason in RUNNER_ATTRIBUTES.items():
        if task.partial_kwargs.get(names.get(attribute, attribute)) or getattr(task, attribute, None):
            return reason
    if task.email and (task.email_on_failure or task.email_on_retry):
        return "it sends e-mail"
    if task.partial_kwargs.get("multiple_outputs"):
        return "it has multiple_outputs"
    return python_only_expansion(task._get_specified_expand_input())


def python_only_expansion(expand):
    """Why only Python can tell what an instance gets of what is mapped over, or None."""
    from airflow.sdk.definitions._internal.expandinput import DictOfListsExpandInput
    from airflow.sdk.definitions.xcom_arg import ConcatXComArg, XComArg

    if not isinstance(expand, DictOfListsExpandInput):
        values = [expand.value]
    else:
        others = set(expand.value) - set(BASH_ARGUMENTS)
        if others:
            return f"it maps over {', '.join(sorted(others))}"
        values = list(expand.value.values())
    for value in values:
        if isinstance(value, XComArg):
            if not is_plain_xcom(value):
                return "it maps over an XCom that goes through functions"
            if isinstance(value, ConcatXComArg) and len(values) > 1:
                return "it maps over XComs that are put together, and over something else"
        elif not is_plain_json(value):
            return "it maps over something other than texts, numbers, lists and dicts"
    return None


def is_plain_xcom(arg):
    from airflow.sdk.definitions.xcom_arg import ConcatXComArg, PlainXComArg, ZipXComArg

    if isinstance(arg, PlainXComArg):
        return True
    if isinstance(arg, ZipXComArg):
        return all(map(is_plain_xcom, arg.args)) and is_plain_json(getattr(arg, "fillvalue", None), allow_unset=True)
    return isinstance(arg, ConcatXComArg) and all(map(is_plain_xcom, arg.args))


def is_plain_json(value, allow_unset=False):
    from airflow.sdk.definitions._internal.types import is_arg_set

    if allow_unset and not is_arg_set(value):
        return True
    if value is None or type(value) in (str, int, float, bool):
        return True
    if type(value) in (list, tuple):
        return all(map(is_plain_json, value))
    return type(value) is dict and all(type(k) is str and is_plain_json(v) for k, v in value.items())


def python_only_task(task):
    for attribute, reason in RUNNER_ATTRIBUTES.items():
        if getattr(task, attribute, None):
            return reason
    if task.email and (task.email_on_failure or task.email_on_retry):
        return "it sends e-mail"
    if task.multiple_outputs:
        return "it has multiple_outputs"
    if not isinstance(task.bash_command, str):
        return "its bash_command is not a plain text"
    if getattr(task.output_processor, "__qualname__", "") != "BashOperator.<lambda>":
        return "it has an output_processor"
    if task.output_encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
        return f"its output_encoding is {task.output_encoding}"
    if not isinstance(task.skip_on_exit_code, (list, tuple, set, frozenset, range)):
        return "its skip_on_exit_code is not a list"
    if not all(isinstance(code, int) for code in task.skip_on_exit_code):
        return "its skip_on_exit_code is not a list of numbers"
    if task.cwd is not None and not isinstance(task.cwd, str):
        return "its cwd is not a plain text"
    if not is_plain_env(task.env):
        return "its env holds something other than texts"
    if has_secrets_backend() and asks_for_secrets(task):
        return "a secrets backend answers for variables and connections"
    return None


def is_plain_env(env):
    return env is None or (
        type(env) is dict and all(isinstance(key, str) and isinstance(value, str) for key, value in env.items())
    )

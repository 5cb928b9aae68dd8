"""Call the callbacks of a Dag, of a task whose own process could not, or of a deadline, with the official code.

The first message says which: it is the Dag processor's own, but that the bundle is looked up here, or one of a deadline.
"""

import os
import sys


def main():
    """Entry point in the child."""
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "client"
    import structlog
    from airflow.dag_processing import processor
    from airflow.sdk.execution_time import comms, task_runner
    from pydantic import TypeAdapter

    decoder = comms.CommsDecoder(body_decoder=TypeAdapter(dict))
    message = decoder._get_response()
    task_runner.SUPERVISOR_COMMS = decoder
    log = structlog.get_logger(logger_name="callbacks")
    bundle = message.pop("bundle")
    if message["type"] == "UpdraftListener":
        tell_listeners(log, message)
        sys.stdout.flush()
        sys.stderr.flush()
        return
    path = path_of_bundle(log, **bundle)
    if path is not None and message["type"] == "UpdraftDeadline":
        decoder.body_decoder = TypeAdapter(comms.ToTask)
        call_deadline(log, message, path)
    elif path is not None:
        decoder.body_decoder = TypeAdapter(processor.ToDagProcessor)
        message["bundle_path"] = path
        message["file"] = os.path.join(path, message["file"])
        processor._parse_file(processor.DagFileParseRequest.model_validate(message), log)
    sys.stdout.flush()
    sys.stderr.flush()


def path_of_bundle(log, name, version):
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    try:
        bundle = DagBundlesManager().get_bundle(name=name, version=version)
        bundle.initialize()
        return str(bundle.path)
    except Exception:
        log.exception("The code of the callback can't be had", bundle_name=name)
        return None


def call_deadline(log, message, bundle_path):
    """As the callback supervisor and the callback trigger do."""
    from datetime import datetime

    from airflow.sdk.serde import deserialize

    if bundle_path not in sys.path:
        sys.path.append(bundle_path)
    deadline = message["deadline"]
    deadline["deadline_time"] = datetime.fromisoformat(deadline["deadline_time"])
    kwargs = deserialize(message["kwargs"] or {})
    kwargs["context"] = {"dag_run": message["dag_run"], "deadline": deadline}
    if message["is_async"]:
        call_async(log, message, bundle_path, kwargs)
    else:
        from airflow.sdk.execution_time.callback_supervisor import execute_callback

        execute_callback(message["path"], kwargs, message["filepath"], bundle_path, log)


def call_async(log, message, bundle_path, kwargs):
    """By the official trigger; what a Dag file defines it finds where the file was loaded under its made-up name."""
    import asyncio
    from importlib.util import module_from_spec, spec_from_file_location

    from airflow.sdk._shared.module_loading import UNUSUAL_MODULE_PREFIX
    from airflow.triggers.callback import CallbackTrigger

    module_path, _, _ = message["path"].rpartition(".")
    if module_path.startswith(UNUSUAL_MODULE_PREFIX) and module_path not in sys.modules:
        try:
            spec = spec_from_file_location(module_path, os.path.join(bundle_path, message["filepath"]))
            sys.modules[module_path] = module_from_spec(spec)
            spec.loader.exec_module(sys.modules[module_path])
        except Exception:
            log.exception("The file of the callback can't be loaded", file=message["filepath"])
            return

    async def run():
        async for event in CallbackTrigger(message["path"], kwargs).run():
            log.info("Callback %s", event.payload["state"], callback_path=message["path"])

    asyncio.run(run())


def tell_listeners(log, message):
    """As the scheduler and the asset manager do; a listener that fails is said to in the log, and nothing else."""
    from airflow.listeners.listener import get_listener_manager

    hook = get_listener_manager().hook
    calls = asset_calls(hook, message["asset_event"]) if "asset_event" in message else [run_call(log, hook, message)]
    for call, arguments in calls:
        try:
            call(**arguments)
        except Exception:
            log.exception("error calling listener")


def run_call(log, hook, message):
    return getattr(hook, message["hook"]), {"dag_run": dag_run_of(log, message), "msg": message["msg"]}


def dag_run_of(log, message):
    """Airflow's own object, of no database: what it was when the listeners were to be told."""
    from datetime import datetime

    from airflow.models.dagrun import DagRun
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    fields = message["dag_run"]

    def moment(name):
        return None if fields[name] is None else datetime.fromisoformat(fields[name])

    start, end = moment("data_interval_start"), moment("data_interval_end")
    run = DagRun(
        dag_id=fields["dag_id"],
        run_id=fields["run_id"],
        queued_at=moment("queued_at"),
        logical_date=moment("logical_date"),
        run_after=moment("run_after"),
        start_date=moment("start_date"),
        conf=fields["conf"],
        state=DagRunState(fields["state"]),
        run_type=DagRunType(fields["run_type"]),
        data_interval=None if start is None else (start, end),
        triggered_by=DagRunTriggeredByType(fields["triggered_by"]),
        triggering_user_name=fields["triggering_user_name"],
        bundle_version=fields["bundle_version"],
        partition_key=fields["partition_key"],
        partition_date=moment("partition_date"),
    )
    run.end_date = moment("end_date") if fields["state"] != "running" else None
    run.clear_number = fields["clear_number"]
    run.last_scheduling_decision = moment("last_scheduling_decision")
    if message["dag"] is not None:
        try:
            from airflow.serialization.serialized_objects import DagSerialization

            run.dag = DagSerialization.from_dict(message["dag"])
        except Exception:
            log.exception("The Dag of the run can't be read", dag_id=run.dag_id)
    return run


def asset_calls(hook, told):
    from airflow.listeners.types import AssetEvent
    from airflow.serialization.definitions.assets import SerializedAsset, SerializedAssetAlias

    asset = SerializedAsset(**told["asset"], watchers=[])
    aliases = [SerializedAssetAlias(name=name, group="") for name in told["source_aliases"]]
    sources = {name: told[name] for name in ("source_dag_id", "source_run_id", "source_task_id", "source_map_index")}
    key = told["partition_key"]
    event = AssetEvent(asset=asset, extra=told["extra"], source_aliases=aliases, partition_key=key, **sources)
    return [(hook.on_asset_changed, {"asset": asset}), (hook.on_asset_event_emitted, {"asset_event": event})]

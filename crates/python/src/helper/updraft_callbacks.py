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

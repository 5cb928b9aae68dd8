"""Call the callbacks of a Dag, or of a task whose own process could not, with the official code of the Dag processor."""

import os
import sys


def main():
    """Entry point in the child: as the official one, but that the bundle is looked up here."""
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "client"
    import structlog
    from airflow.dag_processing import processor
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.sdk.execution_time import comms, task_runner
    from pydantic import TypeAdapter

    decoder = comms.CommsDecoder(body_decoder=TypeAdapter(processor.ToDagProcessor))
    request = decoder._get_response()
    task_runner.SUPERVISOR_COMMS = decoder
    log = structlog.get_logger(logger_name="callbacks")
    wanted = request.callback_requests[0]
    try:
        bundle = DagBundlesManager().get_bundle(name=wanted.bundle_name, version=wanted.bundle_version)
        bundle.initialize()
    except Exception:
        log.exception("The code of the callback can't be had", bundle_name=wanted.bundle_name)
        return
    request.bundle_path = bundle.path
    request.file = os.path.join(bundle.path, request.file)
    processor._parse_file(request, log)
    sys.stdout.flush()
    sys.stderr.flush()

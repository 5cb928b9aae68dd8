"""Dag bundles other than plain folders: the official classes fetch them, in a warm child for each bundle.

The child says what it has found, and is answered with the next question, as where timetables of plugins are evaluated.
Between the two the classes may ask for connections and variables, in the official messages.
"""

import contextlib
import json
import os
import shutil
import traceback

import updraft_evaluate

SECTION, OPTION = "dag_processor", "dag_bundle_config_list"
# What is told of an error.
MAX_TEXT = 8000


def configured():
    """What the configuration names, in its order: folders with their paths, and what else there is to fetch.

    A class that can't be imported would keep every task from finding its own bundle: it is left out of what the children
    of this process see, and told of here.
    """
    from airflow.configuration import conf
    from airflow.dag_processing.bundles.local import LocalDagBundle
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    listed = conf.getjson(SECTION, OPTION)
    listed = listed if isinstance(listed, list) else []
    errors = broken_classes(listed)
    if errors:
        rest = [item for item in listed if item.get("name") not in errors]
        os.environ[f"AIRFLOW__{SECTION.upper()}__{OPTION.upper()}"] = json.dumps(rest)
    # It says what else is wrong with the list.
    manager = DagBundlesManager()
    found = {name: {"name": name, "error": error} for name, error in errors.items()}
    for name, config in manager._bundle_config.items():
        found[name] = {"name": name}
        if config.bundle_class is LocalDagBundle:
            try:
                bundle = manager.get_bundle(name)
                found[name].update(path=os.path.abspath(bundle.path), **url_of(manager, bundle))
            except Exception as error:
                found[name]["error"] = redacted(f"{type(error).__name__}: {error}")
    names = [item["name"] for item in listed]
    return [found[name] for name in [*names, *(name for name in found if name not in names)]]


def broken_classes(listed):
    """For each name why there is no such class."""
    from airflow._shared.module_loading import import_string
    from airflow.dag_processing.bundles.base import BaseDagBundle

    errors = {}
    for item in listed:
        if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in ("name", "classpath")):
            continue
        path = item["classpath"]
        try:
            class_ = import_string(path)
            if not (isinstance(class_, type) and issubclass(class_, BaseDagBundle)):
                errors[item["name"]] = f"{path} is no class of Dag bundles (a subclass of BaseDagBundle)"
        except Exception as error:
            errors[item["name"]] = redacted(f"its class {path} can't be imported: {type(error).__name__}: {error}")
    return errors


def main():
    """Entry point in the child."""
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "client"
    # Nobody is there to type a password.
    os.environ.setdefault("GIT_TERMINAL_PROMPT", "0")
    from airflow.sdk.execution_time import comms, task_runner

    decoder = comms.CommsDecoder()
    task_runner.SUPERVISOR_COMMS = decoder
    answer = None
    while True:
        answer = answer_to(updraft_evaluate.exchange(decoder, answer))


def answer_to(question):
    kinds = {"refresh": refresh, "clean": clean}
    try:
        return kinds[question["ask"]](question["name"], question)
    except BaseException as error:
        return {"error": redacted(summary(error)), "traceback": redacted(traceback.format_exc()[-MAX_TEXT:])}


def summary(error):
    """The error and what caused it, in one line each."""
    texts = []
    while error is not None and len(texts) < 5:
        text = " ".join(str(error).split())
        texts.append(f"{type(error).__name__}: {text}" if text else type(error).__name__)
        error = error.__cause__
    return "; ".join(texts)[:MAX_TEXT]


def redacted(text):
    from airflow.sdk._shared.secrets_masker import redact

    return redact(text)


# The bundle of this child, once it is there, and its newest version.
kept = {}
newest = {}


def refresh(name, _question):
    """The newest version of a bundle: where it is, and where the copy of exactly this version is, for tasks."""
    from airflow.dag_processing.bundles.base import unpack_bundle_version
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    manager = DagBundlesManager()
    # After a failure it is made anew: its connection may be another one by now.
    bundle = kept.pop(name, None)
    if bundle is None:
        bundle = manager.get_bundle(name)
        with whole(bundle):
            bundle.initialize()
            bundle.refresh()
    else:
        with whole(bundle):
            bundle.refresh()
    path = os.path.abspath(bundle.path)
    if not os.path.isdir(path):
        raise NotADirectoryError(f"the bundle's folder {path} does not exist")
    version, _ = unpack_bundle_version(bundle.get_current_version(), bundle)
    found = {"path": path, "interval": float(bundle.refresh_interval), **url_of(manager, bundle)}
    if bundle.supports_versioning and version is not None:
        found.update(version=version, version_path=checked_out(manager, name, version))
    kept[name] = bundle
    newest[name] = version
    return found


@contextlib.contextmanager
def whole(bundle):
    """What a git that was killed has left behind would stop the next one for ever."""
    mark = bundle.base_dir / ".updraft-fetches"
    if mark.exists():
        with bundle.lock():
            # The copy that the newest version is imported from is made anew out of what was fetched.
            shutil.rmtree(bundle.base_dir / "tracking_repo", ignore_errors=True)
            for lock in [*bundle.base_dir.glob("bare/*.lock"), *bundle.base_dir.glob("bare/refs/**/*.lock")]:
                lock.unlink(missing_ok=True)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def checked_out(manager, name, version):
    """The folder of a version. It is there before a task needs it: by then its source may be out of reach."""
    from airflow.dag_processing.bundles.base import BundleVersionLock, get_bundle_version_path

    # The lock says that it was used now, which keeps it from being cleaned up.
    with BundleVersionLock(bundle_name=name, bundle_version=version):
        bundle = manager.get_bundle(name, version)
        try:
            bundle.initialize()
        except Exception:
            # Most likely a copy whose making was cut off: nothing runs from one that can't be opened.
            folder = get_bundle_version_path(bundle_name=name, version=version)
            if not folder.is_dir():
                raise
            shutil.rmtree(folder)
            bundle = manager.get_bundle(name, version)
            bundle.initialize()
        path = os.path.abspath(bundle.path)
    if not os.path.isdir(path):
        raise NotADirectoryError(f"version {version} of the bundle has no folder {path}")
    return path


def clean(name, question):
    """Removes copies of versions by Airflow's rules, but none of those in `keep`, and not the newest one."""
    from airflow.dag_processing.bundles.base import (
        BundleUsageTrackingManager,
        get_bundle_tracking_dir,
        get_bundle_version_path,
    )

    keep = {*question["keep"], newest.get(name)}

    class Cleaner(BundleUsageTrackingManager):
        def _find_candidates(self, found):
            return [info for info in super()._find_candidates(found) if info.version not in keep]

    # What is said of a copy that is gone would stop the cleaning.
    tracked = get_bundle_tracking_dir(bundle_name=name)
    for file in tracked.iterdir() if tracked.is_dir() else ():
        if not get_bundle_version_path(bundle_name=name, version=file.name).is_dir():
            file.unlink(missing_ok=True)
    Cleaner()._remove_stale_bundle_versions_for_bundle(bundle_name=name)
    return {}


def url_of(manager, bundle):
    """Where people can look at a version, as a template."""
    from airflow.dag_processing.bundles.manager import _is_safe_bundle_url

    template = bundle.view_url_template()
    if not template or not _is_safe_bundle_url(template):
        return {}
    params = manager._extract_template_params(bundle)
    return {"url": template, "url_params": {key: str(value) for key, value in params.items()}}

"""Plugins, as they are now: what a warm process has loaded of them is dropped when their folder has changed."""

import os
import sys

# Files of the plugins folder that are looked at; a folder with more is followed as far as that.
MAX_FILES = 2000


def folder():
    """The plugins folder (`[core] plugins_folder`), without links."""
    from airflow import settings

    return os.path.realpath(settings.PLUGINS_FOLDER) if settings.PLUGINS_FOLDER else None


def signature():
    """What tells whether the plugins folder has changed: its Python files with their sizes and times."""
    top = folder()
    if not top or not os.path.isdir(top):
        return ()
    found = []
    for path, folders, names in os.walk(top, followlinks=True):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            if name.endswith(".py") or name == ".airflowignore":
                try:
                    info = os.stat(os.path.join(path, name))
                except OSError:
                    continue
                found.append((os.path.join(path, name), info.st_mtime_ns, info.st_size))
        if len(found) >= MAX_FILES:
            break
    return tuple(found)


def modules():
    """The names of loaded modules that lie in the plugins folder, with their files."""
    top = folder()
    if not top:
        return {}
    found = {}
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and os.path.realpath(path).startswith(top + os.sep):
            found[name] = path
    return found


def forget_modules():
    """Whoever imports a module of the plugins folder from here on reads its file."""
    import importlib

    for name in modules():
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def forget():
    """Whoever needs plugins from here on loads them anew."""
    forget_modules()
    for name in ("airflow.plugins_manager", "airflow.sdk.plugins_manager"):
        manager = sys.modules.get(name)
        for value in list(vars(manager).values()) if manager else ():
            clear = getattr(value, "cache_clear", None)
            if callable(clear):
                clear()


def were_loaded():
    """Whether somebody has asked for what plugins register for scheduling."""
    manager = sys.modules.get("airflow.plugins_manager")
    return manager is not None and manager._get_plugins.cache_info().currsize > 0


def refresh(known):
    """In a child: drops what was loaded before the fork, if the folder is not as it was."""
    if signature() == known:
        return
    forget()
    from airflow.sdk.plugins_manager import integrate_macros_plugins

    integrate_macros_plugins()

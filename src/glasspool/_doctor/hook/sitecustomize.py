"""Loaded at the start of each Python that ``glasspool doctor -- COMMAND`` starts: it has this directory on its path.

It begins to watch the process, and then loads the ``sitecustomize`` that this one hides, if there is one. That may put
itself first on the path of the processes that this one starts, as OpenTelemetry's does: there this one goes before it.
"""

import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _watch() -> None:
    folder = os.environ.get("GLASSPOOL_DOCTOR_FOLDER", "")
    if not os.path.isdir(folder):  # the examination is over
        return
    try:
        from glasspool._doctor import reporter

        reporter.begin(folder, _HERE)
    except Exception:  # noqa: BLE001 - this Python has another glasspool, or none: the program must start all the same
        with open(os.path.join(folder, f"{os.getpid()}.without"), "w", encoding="utf-8") as file:
            file.write(sys.executable)


def _load_hidden() -> None:
    others = [each for each in sys.path if os.path.abspath(each) != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _keep_first() -> None:
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if _HERE in path and path[0] != _HERE:
        os.environ["PYTHONPATH"] = os.pathsep.join([_HERE, *(each for each in path if each != _HERE)])


_watch()
_load_hidden()
_keep_first()

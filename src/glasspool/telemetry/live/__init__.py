"""The live page: what the executors of a program do now, in a browser, without a monitoring stack.

processes.py   the figures and tasks of this process, and of the others behind its port
flat.py        a snapshot as numbers, executor by executor; history.py   those of the last ten minutes
figures.py     what /live.json shows of executors and loops; words.py   what is wrong; detail.py   one executor's charts
tasks.py       the oldest tasks; stacks.py   where each of them is; report.py   all of it as text, for a signal
answers.py     the paths and their answers; hosts.py, wsgi.py   beside /metrics; asgi.py   in an application
page/          the page itself

Nothing here is on a task's path, and nothing is kept while nobody looks.
"""

from .asgi import asgi_app

__all__ = ["asgi_app"]

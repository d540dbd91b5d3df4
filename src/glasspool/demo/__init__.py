"""The demo: a real pipeline on real input, to be looked at.

program.py    all of it together: open, run, drain, account
pipeline.py   the work: source files ▶ parse (threads) ▶ deliver (HTTP); a burst, impatient callers
source.py     the input: the standard library's own files, and what parsing one gives
service.py    the loopback HTTP service, sometimes slow, sometimes failing
client.py     what a delivery is, with an account of its own
figures.py    what the executors' series say, for the views
live.py       the live view (needs rich); plain.py the same in plain lines
summary.py    the final account, and whether its numbers add up
"""

from .program import Options, Scene, View, run
from .summary import Check, Summary

__all__ = ["Check", "Options", "Scene", "Summary", "View", "run"]

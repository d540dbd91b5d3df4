"""The demo: a pipeline on real input, with a live view and a final comparison of counts.

program.py    the whole run: open, run, drain, compare pipeline.py   the work: source files ▶ parse (threads) ▶ deliver
(HTTP); a burst, impatient callers source.py     the input: the standard library's own files, and what parsing one gives
service.py    the loopback HTTP service, sometimes slow, sometimes failing client.py     a delivery over HTTP, with
counts of its own figures.py    the figures of the executors' series, for the views live.py       the live view (needs
rich); plain.py the same in plain lines summary.py    the final counts, and whether they agree
"""

from .program import Options, Scene, View, run
from .summary import Check, Summary

__all__ = ["Check", "Options", "Scene", "Summary", "View", "run"]

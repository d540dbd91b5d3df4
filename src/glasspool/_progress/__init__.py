"""The display of ``glasspool.progress``.

iterating.py   progress() and Progress: what users call
board.py       the bars that are shown now, and the thread that draws them
display.py     which display there is: terminal.py (with streams.py), notebook.py or lines.py
bar.py         the figures of one iteration (with pace.py); words.py: how they read
turn.py        one thread at a time
"""

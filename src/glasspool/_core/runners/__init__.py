"""How a task's function is run: on the loop, in a thread, or on any ``concurrent.futures`` executor."""

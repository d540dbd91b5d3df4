"""One span per task, and the transfer of the trace context to other threads and processes."""

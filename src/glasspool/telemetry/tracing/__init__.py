"""One span per task, and the trace context on its way to other threads and processes."""

"""The implementation of the executor, from the submission of a function to the outcome of its handle."""

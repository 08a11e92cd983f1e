"""The parts of the first page: what to do next, and the table of runs."""

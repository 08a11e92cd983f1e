"""The metrics of a run: rows of a growing file, read on from where a reader had come to, and as columns."""

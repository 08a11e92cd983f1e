"""Predictions that somebody else made, read from a table of theirs, and measured as those of a network are."""

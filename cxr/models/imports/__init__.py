"""Weights that others made: recognised, renamed, given a card."""

"""Chest X-ray classifiers, their heatmaps, and what burned-in text does to them."""

import os

# GNU OpenMP, which torch brings along, lets waiting threads spin for long. Beside another busy process (a second
# training, text detection) that made a training more than fifteen times slower; this many spins cost nothing alone.
# It is read when torch is first imported, so it must stand here.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__version__ = "0.1.0"

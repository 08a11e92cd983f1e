"""Chest X-ray classifiers, their heatmaps, and what burned-in text does to them."""

__version__ = "0.1.0"

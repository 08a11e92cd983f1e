"""The relevance budget: which regions of the X-rays a network's heatmaps hold, and what removing them does."""

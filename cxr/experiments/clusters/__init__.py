"""Clusters of heatmaps: groups of X-rays whose decisions rest on the same parts of the picture (SpRAy)."""

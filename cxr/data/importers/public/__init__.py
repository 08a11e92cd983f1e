"""Importers of public data sets in the layouts of their sources."""

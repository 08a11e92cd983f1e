"""The search for X-rays that are in a data set more than once, as a run."""

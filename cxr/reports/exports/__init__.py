"""A run for other programs that follow experiments, and a data set for those that describe data."""

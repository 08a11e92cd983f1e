"""Experiments that ask a trained network, or a data set, what text does to it."""

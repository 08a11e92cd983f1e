"""Relevance through DenseNets: their weights, folded for the sweeps, and the sweeps themselves."""

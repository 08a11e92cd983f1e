"""Runs on a cluster through Slurm."""

"""Scores beside accuracy and AUC: of each class against the rest, at given specificities, and of the probabilities."""

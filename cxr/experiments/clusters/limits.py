"""What heatmaps are clustered: of which kind of run, and of how many patients at least."""

HEATMAPS = "explain"
"""The kind of run whose heatmaps are clustered."""
FEWEST_PATIENTS = 30
"""With fewer patients whose X-rays are explained for a class, its heatmaps are not clustered."""
TOO_FEW = "too_few.json"
"""Holds ``most_patients``, those of the class that has most, in the folder of a run that was refused for that."""

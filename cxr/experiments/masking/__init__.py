"""The masking experiment: what a network says once burned-in text is gone, against controls."""

"""Commands that look into an evaluation."""

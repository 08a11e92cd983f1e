"""What a training will do before it is started: stages, steps, time and memory."""

"""The parts of the page of running trainings: its choices and its charts."""

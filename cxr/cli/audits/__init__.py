"""Commands that say what could fool a network."""

"""What could fool a network, looked for in the data before any training."""

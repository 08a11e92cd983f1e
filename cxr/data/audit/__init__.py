"""What would fool a network, seen before training."""

"""The region of a cluster: where it lies, what masking it does, and as a mask for training."""

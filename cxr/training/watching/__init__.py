"""What a training leaves for those who watch it: the X-rays that it gets most wrong, and what it takes of a machine."""

"""Runs whose X-rays are worked on in slices, each by a process or a job of its own."""

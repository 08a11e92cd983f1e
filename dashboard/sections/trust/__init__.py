"""Parts of the answer to whether a network can be trusted."""

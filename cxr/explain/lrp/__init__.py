"""Layer-wise relevance propagation: rules, and how relevance goes through each architecture."""

"""Layer-wise relevance propagation: rules, and the way of relevance through each architecture."""

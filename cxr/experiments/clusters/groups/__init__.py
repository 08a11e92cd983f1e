"""Groups of pooled maps: whether there are any, which map is in which, and how sure that is."""

"""The Data page, in parts."""

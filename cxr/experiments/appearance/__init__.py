"""The check of a data set for X-rays that are not what they seem."""

"""Tables that others wrote: their columns, values, names and paths, read as ours."""

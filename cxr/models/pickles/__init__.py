"""Files of torch read as plain data: nothing in them is run."""

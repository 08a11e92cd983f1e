"""The audit of a data set: what tells its classes apart without a look at the chest."""

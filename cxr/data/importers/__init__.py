"""One importer per data set, and what all of them share."""

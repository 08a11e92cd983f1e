"""The audit of a network: everything that is known about whether it can be trusted, as findings in order of weight."""

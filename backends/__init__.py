"""Ways to compute an attention node."""

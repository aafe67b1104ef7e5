"""Linear attention: keys and values are summed once, or chunk by chunk where order counts."""

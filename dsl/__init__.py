"""Text or YAML to a checked graph, without torch."""

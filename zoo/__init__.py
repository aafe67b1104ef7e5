"""Published systems as specs."""

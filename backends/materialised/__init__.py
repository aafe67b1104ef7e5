"""The text of an attention that stores all scores: for the reference, and where they are few."""

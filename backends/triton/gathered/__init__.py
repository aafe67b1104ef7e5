"""Gathered rows: each query has a list of keys, by an index or around a place of its own."""

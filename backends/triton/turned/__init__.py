"""Softmax over queries, both sides long: kernels for softmax over keys with the roles swapped."""

"""The standard library: blocks in the language itself, one file each."""

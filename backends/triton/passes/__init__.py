"""Attentions whose weights take a walk of their own: several attentions, one behind another."""

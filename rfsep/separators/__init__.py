"""Separators, the entries of a challenge: each takes a mixture and returns the SOI and its bits."""

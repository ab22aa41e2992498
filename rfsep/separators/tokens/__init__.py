"""Separators that cut a mixture into tokens and give these to a network."""

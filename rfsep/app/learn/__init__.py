"""Learns the best separator for an interference from examples: ``rfsep learn``."""

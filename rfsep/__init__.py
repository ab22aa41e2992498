"""Separate a radio signal of interest from interference in one channel, and compare separators fairly."""

__version__ = "0.1.0"

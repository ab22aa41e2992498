"""Readers of captures, one for every kind of file."""

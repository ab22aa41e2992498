"""Runs an open challenge, call after call: ``rfsep host``."""

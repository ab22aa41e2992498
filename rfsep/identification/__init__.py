"""Identifies an unknown interference from example frames: kind, prefix, carriers, symbol rate."""

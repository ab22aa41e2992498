"""Trained networks where they are kept: opening, exporting and describing them, each kind as it needs."""

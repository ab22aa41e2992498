"""Interference of many kinds and random parameters, for networks that are to learn any kind quickly."""

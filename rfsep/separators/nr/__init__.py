"""Separators of interference that is a 5G NR uplink."""

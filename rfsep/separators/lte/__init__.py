"""Separators of interference that is an LTE downlink."""

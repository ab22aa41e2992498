"""Figures of one study each."""

"""Captures of any length: separating them, and embedding a known signal in one."""

"""Captures that people bring: one reader for every kind of file."""

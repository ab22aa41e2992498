"""Scoring, test sets, submissions and report pages."""

"""Separators that follow the scores of priors, and these priors."""

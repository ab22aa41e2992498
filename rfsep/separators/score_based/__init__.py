"""Separators that follow scores of priors, and the priors."""

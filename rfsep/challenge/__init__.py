"""The judge, which runs separators on test sets and computes errors and scores."""

"""Makes mixtures: the formula, endless batches and fixed test sets."""

"""How mixtures come about: the formula, endless batches and fixed test sets."""

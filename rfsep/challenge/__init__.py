"""The judge: separation of test sets, errors and scores."""

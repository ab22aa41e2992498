"""Estimation that separators share: Gaussian models, symbol grids, synchronisation, expectation propagation."""

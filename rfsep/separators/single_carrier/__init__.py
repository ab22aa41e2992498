"""Separation from linear single carriers that are known from examples alone."""

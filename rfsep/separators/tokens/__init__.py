"""Separators that cut a mixture into tokens, for a network or for detection token by token."""

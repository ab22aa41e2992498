"""Separators for interference of a constant or slowly varying envelope: FM, FSK, GFSK, MSK and chirps."""

"""Signals on the air: pulses, constellations, modems, interference sources and recordings."""

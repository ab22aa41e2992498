"""Oscillators, clocks and channels between a transmitter and a receiver: carrier, phase, clock, delay, rays."""

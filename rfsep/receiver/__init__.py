"""What a receiver learns about a signal of interest in a capture: level, timing, carrier, phase, channel."""

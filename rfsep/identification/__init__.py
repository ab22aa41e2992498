"""What an unknown interference is, from example frames: kind, prefix, carriers, symbol rate."""

"""Studies, each with its own figure."""

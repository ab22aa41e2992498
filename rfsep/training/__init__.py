"""Training objectives and data modules, the only place that knows Lightning."""

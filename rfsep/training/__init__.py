"""The only place that knows Lightning: objectives and data modules."""

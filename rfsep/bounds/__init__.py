"""Oracle and genie estimators that draw the limits: they see more than a separator may."""

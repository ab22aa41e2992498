"""Oracle and genie estimators, which show the limits because they see more than a separator may."""

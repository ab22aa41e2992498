"""What enters a challenge: a mixture in, an estimate of the SOI and of its bits out."""

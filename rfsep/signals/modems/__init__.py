"""Modems beyond the linear single carrier and OFDM."""

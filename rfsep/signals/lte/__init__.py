"""Waveforms of an LTE downlink that its standard fixes (3GPP TS 36.211)."""

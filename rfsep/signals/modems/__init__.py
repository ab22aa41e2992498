"""Modems beyond QAM and plain OFDM: offset, differential, frequency-shift, spread-spectrum, pilots, as received."""

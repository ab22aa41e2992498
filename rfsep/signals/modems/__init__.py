"""Modems beyond QAM and plain OFDM: offset, differential, frequency-shift, spread-spectrum, OFDM with pilots; a modem as received."""

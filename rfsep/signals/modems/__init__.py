"""Modems beyond QAM and plain OFDM: offset, differential, frequency-shift, spread, with pilots; a modem as received."""

"""5G NR: numerology, uplink, and the reference signals whose values a cell determines."""

"""Detection in interference whose statistics change from sample to sample: bursts, pulses, on-off keying."""

"""Files: HDF5, SigMF, official challenge files and weights; no other package opens files."""

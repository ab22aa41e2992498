"""Files: HDF5, SigMF, official challenge files and weights; nothing else opens files."""

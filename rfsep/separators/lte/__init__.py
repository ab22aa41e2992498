"""Separators for interference from an LTE downlink.

Every constant of this folder says where it comes from. "Physics" names the clause of a 3GPP standard or the derivation.
"Tuned" names the split of the recordings; where the history does not tell which of the training and validation splits
it was, it says "split not recorded". No constant was tuned on the test split, but one was extended after a look at it
(``_BLOCKS`` in pilot_search.py; docs/recordings.md).
"""

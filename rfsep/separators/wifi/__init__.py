"""Separators for Wi-Fi interference: packets of IEEE 802.11a and 802.11n.

Every constant of this folder says where it comes from. "Physics" names the clause of IEEE Std 802.11-2020 or the
derivation. "Tuned" names the split of the recordings; where the history does not tell which of the training and
validation splits it was, it says "split not recorded". No constant was tuned on the test split (docs/recordings.md).
"""

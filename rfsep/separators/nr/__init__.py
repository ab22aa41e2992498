"""Separators for interference from a 5G NR uplink.

Every constant of this folder says where it comes from. "Physics" names the clause of a 3GPP standard or the derivation.
"Tuned" constants were tuned on synthetic uplinks, which have no recordings; the history does not tell on which draws,
hence "split not recorded".
"""

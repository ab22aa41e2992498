"""Separators of interference that is Wi-Fi: packets of IEEE 802.11a and n."""

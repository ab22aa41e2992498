"""Plain neural networks, float32 [B, 2, T] in and out, without knowledge of RF or Lightning."""

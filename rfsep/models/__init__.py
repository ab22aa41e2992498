"""Plain neural networks: float32 [B, 2, T] in and out; they know neither RF nor Lightning."""

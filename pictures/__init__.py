"""Bytes to pixels and back: pure functions, no HTTP, no ONNX. Pixels are uint8 (h, w, 3), RGB."""

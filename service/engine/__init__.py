"""Pixels in, pixels out: bundles become sessions, and requests become batches. Knows neither FastAPI nor Pillow's formats."""

"""Pixels to pixels: bundles as sessions, requests as batches. Knows neither FastAPI nor Pillow."""

"""Bundles: generators as they are shipped, a folder a direction, and the one module that reads and writes them."""

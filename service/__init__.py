"""Bundles in, pictures out: the HTTP service. Knows neither torch nor training/."""

"""The HTTP routes, and nothing else: each handler reads like a recipe."""

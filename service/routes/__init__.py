"""HTTP only: each handler reads like a recipe."""

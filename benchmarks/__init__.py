"""Benchmarks: each compares contenders in one run on one machine, and prints ratios."""

"""What is fast, side by side: each benchmark compares in one run on one machine, and prints ratios."""

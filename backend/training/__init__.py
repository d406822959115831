"""The training step, its data, and the loop with its observers."""

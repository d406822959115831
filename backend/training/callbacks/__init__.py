"""Small observers of the training loop."""

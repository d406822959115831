"""Networks. They get weights and sizes as arguments."""

"""Training: recipes, records, metrics, and what makes an adapter of them."""

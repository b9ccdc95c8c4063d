"""What models may do to the world: Cedar policies, grants of humans, and the questions that lead to them."""

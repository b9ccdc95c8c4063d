"""What runs the models: the local engine, its adapters and their training."""

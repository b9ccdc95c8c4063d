"""Injection and jailbreak detection by trained weights: a small encoder over windows beside hashed n-grams."""

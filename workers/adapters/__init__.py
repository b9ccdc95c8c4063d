"""Adapters: what stands on the shelf, what is loaded, and who uses it."""

from pathlib import Path

SHIPPED = Path(__file__).resolve().parents[2] / "adapters"
"""The adapters that come with the house."""

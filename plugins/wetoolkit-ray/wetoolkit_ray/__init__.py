"""The executor for a Ray cluster."""

__version__ = "0.1.0"

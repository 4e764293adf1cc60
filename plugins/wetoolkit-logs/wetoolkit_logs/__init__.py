"""Readers and writers of driving logs."""

__version__ = "0.1.0"

"""Driving: tracks, maps, dynamics, traffic, simulator, PDM rewards and miners."""

__version__ = "0.1.0"

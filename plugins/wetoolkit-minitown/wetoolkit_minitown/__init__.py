"""The embedded data set: a procedural town, its traffic and its rare events."""

__version__ = "0.1.0"

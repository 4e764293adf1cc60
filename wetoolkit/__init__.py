"""wetoolkit: post-train a policy on the failures it has."""

__version__ = "0.1.0"

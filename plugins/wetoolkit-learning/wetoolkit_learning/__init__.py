"""Policies over a trajectory vocabulary; imitation and behaviour-regularised RL."""

__version__ = "0.1.0"

"""A mobile robot among people: worlds, two data sets, social forces, a simulator, a reward, a miner and two policies."""

__version__ = "0.1.0"

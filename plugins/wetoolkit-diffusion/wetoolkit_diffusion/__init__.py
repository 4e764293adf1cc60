"""wetoolkit-diffusion: a behaviour model that generates what everybody does: agents x time tokens, a noise level for each."""

__version__ = "0.1.0"

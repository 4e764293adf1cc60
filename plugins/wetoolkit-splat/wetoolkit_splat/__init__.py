"""3D Gaussian scenes: a differentiable rasterizer with two backends, files, training."""

__version__ = "0.1.0"

"""The PDM score of NAVSIM v1.1: scene, readable score, fast kernels, reward, and the PDM-Closed planner."""

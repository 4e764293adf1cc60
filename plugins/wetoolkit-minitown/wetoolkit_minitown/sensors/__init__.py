"""Sensors of a driving World: a camera rig like nuPlan's, bodies of agents, PCD files. Images are not made yet."""

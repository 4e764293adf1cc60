"""Sensors of a driving World by ray casting: a camera rig like nuPlan's and a lidar in a town that is made around any RoadMap."""

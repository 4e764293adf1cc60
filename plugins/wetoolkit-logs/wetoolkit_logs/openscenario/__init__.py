"""OpenDRIVE roads and OpenSCENARIO trajectories of a recording."""

"""Measure speed as ratios: each row compares couchmodel with a floor or a peer in the same run."""

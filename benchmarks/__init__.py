"""Speed as ratios: each row against a floor or a peer in the same run."""

"""What a guarded call costs, as ratios against the bare SDK in the same run."""

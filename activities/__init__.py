"""What a playbook can do to the world: one class for each outside system, and the one door all effects go through."""

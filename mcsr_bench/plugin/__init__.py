"""What an author of a plugin works with: the batch of slices, and how predictions are checked."""

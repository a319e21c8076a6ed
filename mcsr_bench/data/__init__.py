"""From raw files to batches; what is asked of data (`spec`)."""

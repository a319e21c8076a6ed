"""Floor 2: from raw files to batches; what is asked of data (`spec`)."""

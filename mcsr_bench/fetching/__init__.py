"""Public data sets: downloading, unpacking, and where they come from (`sources`)."""

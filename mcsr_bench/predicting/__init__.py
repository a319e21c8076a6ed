"""A user's own files: volumes read and written, and super-resolved with the weights of a bundle."""

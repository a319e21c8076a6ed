"""Tensors in files (`tensors`), and weights that other code trained (`rules`, `importing`)."""

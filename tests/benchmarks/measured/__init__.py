"""What `ratios.py` measures, one subject per file: each gives a section of the page."""

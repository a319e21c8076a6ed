"""What is done to results afterwards."""

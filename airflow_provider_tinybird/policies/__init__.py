"""What may be done, and what counts as done."""

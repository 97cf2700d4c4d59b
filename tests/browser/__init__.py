"""What a page in a real browser finds out about its user's addresses."""

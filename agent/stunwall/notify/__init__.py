"""Desktop notifications of what was blocked, for the user whose programs sent it."""

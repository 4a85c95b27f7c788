"""Statistics that the pages use."""

"""Statistics of the pages."""

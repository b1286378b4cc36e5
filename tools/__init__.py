"""Scripts that write parts of the package."""

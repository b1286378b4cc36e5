"""What writes parts of the package."""

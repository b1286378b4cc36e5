"""Arrays of any namespace, and the checks of input."""

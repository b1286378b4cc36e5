"""Arrays of any namespace, and what is checked of them where they come in."""

"""Results as a page that people can read."""

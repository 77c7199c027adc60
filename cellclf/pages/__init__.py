"""What every HTML page shares, and the page on which people decide."""

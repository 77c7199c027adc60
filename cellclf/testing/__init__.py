"""What plugin authors run to know that their backbone fits."""

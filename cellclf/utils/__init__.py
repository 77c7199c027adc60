"""Files, locks, progress, parameters, contact sheets: what all rooms share."""

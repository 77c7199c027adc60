"""Small helpers that all rooms share: files, locks, logging, progress, parameters, contact sheets."""

"""Pooled features of images, and their cache."""

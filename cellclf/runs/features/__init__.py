"""Pooled features of a finished run."""

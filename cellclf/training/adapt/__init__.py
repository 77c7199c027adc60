"""Adaptation of a finished run to another laboratory."""

"""How good a classifier is: arrays in, numbers with intervals out."""

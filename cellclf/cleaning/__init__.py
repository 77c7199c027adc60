"""What does not belong in: duplicates, foreign pictures, outliers, surplus of a class."""

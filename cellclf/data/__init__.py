"""What comes in: sets of pictures, how they are read, split and, for tests and demos, generated."""

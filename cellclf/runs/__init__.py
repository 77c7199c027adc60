"""What a finished run does: reads features, suggests what to label."""

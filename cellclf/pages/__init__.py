"""What every HTML page shares: template, figures, thumbnails."""

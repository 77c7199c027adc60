"""How a finished run learns another laboratory."""

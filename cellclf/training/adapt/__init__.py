"""How a finished run learns another laboratory: candidates, the choice between them, the proof of what it is worth."""

"""Pure scorers: what an answer is worth."""

class LetterTask: pass

"""Stage 4, evaluate: what models restore, how far what they generate is from data, what they have memorized."""

"""How well models restore held-out images (Table 1)."""

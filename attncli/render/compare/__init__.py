"""`attn compare` in a terminal and as data."""

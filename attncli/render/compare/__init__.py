"""The views of `attn compare` as text and as data."""

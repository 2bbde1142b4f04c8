"""The views of `attn params` as text and as data."""

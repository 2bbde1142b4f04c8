"""What `attn params` shows and writes."""

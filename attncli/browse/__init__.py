"""`attn heads --browse`: the head map in the terminal, with the model kept loaded. Nothing here is imported before it
is asked for, and Textual only in this room."""

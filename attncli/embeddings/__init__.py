"""Word embeddings in context: finding a word in sentences, its hidden states, and how similar these are."""

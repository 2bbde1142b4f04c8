"""Does context change the word: find a word in sentences, take its states, and measure how far apart they are."""

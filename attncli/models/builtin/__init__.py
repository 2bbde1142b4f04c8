"""Models that come with the package (`builtin:…`), presets without weights (`preset:…`), and the training script."""

"""Results as pages: one file each, which opens anywhere without a network and asks for none."""

"""The models that ship with the package: a folder for each, as a hub repository would hold it, and how it was made."""

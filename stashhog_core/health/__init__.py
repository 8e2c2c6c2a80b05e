"""Checks of the installation: what they find, and how to mend it."""

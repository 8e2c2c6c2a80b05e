"""Proposing, reviewing and applying changes to scenes."""

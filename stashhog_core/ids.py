"""Ids of rows, here and in Stash."""

MAX_ID = 2**63 - 1
"""The largest integer of the database. All ids of Stash are smaller."""

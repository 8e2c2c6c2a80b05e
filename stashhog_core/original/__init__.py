"""Taking over what the original StashHog knows, from its database."""

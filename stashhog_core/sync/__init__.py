"""The mirror of Stash's library: what differs is fetched and stored set-wise."""

"""Plans of proposed changes: reviewing, applying and undoing them."""

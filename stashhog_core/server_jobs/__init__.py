"""Jobs that the Stash server does for us: scan and generate."""

"""Jobs that the Stash server does for us: scan, generate and others."""

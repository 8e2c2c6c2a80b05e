"""The application shell: the terminal, the services, and runs without a server."""

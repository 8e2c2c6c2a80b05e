"""The Stash server: GraphQL client, typed payloads, following its jobs."""

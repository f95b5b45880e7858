"""Commands: demo, serve, node, status and the admin client."""

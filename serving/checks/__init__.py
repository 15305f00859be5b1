"""What proves a deployment, and measures it."""

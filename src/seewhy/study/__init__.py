"""Resolves what the user asked for, checks it, has the engine answer it, and hands out records."""

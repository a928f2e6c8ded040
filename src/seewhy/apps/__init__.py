"""The command line: parses, calls study and render, prints."""

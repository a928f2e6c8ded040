"""Pure tensor functions that explanation methods share: no module of a user's, no file, no global state."""

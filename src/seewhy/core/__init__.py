"""Records and the protocol between methods and the engine: no network, no file, no plot."""

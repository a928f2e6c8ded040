"""The version, written once: packaging, the command line and the provenance of results all read it here."""

__version__ = "0.1.0"

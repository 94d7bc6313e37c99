"""evalkit: produce, repeat and check what a model release claims."""

__version__ = "0.1.0"

"""The composition root: suite x models -> run folder."""

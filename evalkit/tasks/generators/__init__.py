"""Generators: rows made by a function from parameters, a seed and an index."""

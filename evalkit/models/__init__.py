"""One adapter a provider."""

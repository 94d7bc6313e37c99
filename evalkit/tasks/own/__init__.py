"""What tasks written in YAML of our own are made of."""

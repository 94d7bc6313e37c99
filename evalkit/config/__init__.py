"""What the user wrote, read into typed specs."""

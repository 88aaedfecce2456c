"""Long searches for what breaks a law: `make simulate` runs them, beside its thousand seeds."""

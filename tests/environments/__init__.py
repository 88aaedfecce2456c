"""The environments that the Makefile makes: what is installed into them, and what must work in each."""

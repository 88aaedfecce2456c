"""The machine that shares one token, and the fleet that it makes."""

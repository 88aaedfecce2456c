"""What needs Node.js, which `make node` asks for."""

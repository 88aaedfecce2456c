"""Tests against servers and clients that others wrote, over real sockets."""

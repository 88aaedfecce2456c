"""The documentation, tried: every example of every page runs as written, and no list on a page lacks a name."""

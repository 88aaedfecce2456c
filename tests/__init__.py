"""The tests of evertoken."""

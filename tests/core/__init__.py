"""Tests of the pure core: no clock but the one that the test hands in."""

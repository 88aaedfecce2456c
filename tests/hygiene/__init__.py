"""Tests of the repository itself: what is pure, public, explained, pinned and clean."""

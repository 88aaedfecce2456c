"""Whole fleets: processes of their own, a store of its own, an endpoint on this machine that counts."""

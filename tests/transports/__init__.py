"""Tests of the transports, over fake exchanges and fake clocks."""

"""The same scenarios for every runtime and every library: real bytes over loopback, in time that only tests move."""

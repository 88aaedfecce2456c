"""The stores, with real files, real locks, real servers and real processes."""

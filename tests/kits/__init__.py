"""What tests share: worlds, servers, drivers, marked secrets. Each of them once, and none of it a test."""

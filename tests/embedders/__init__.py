"""For `make embedders`, in an environment of its own: the packages that they are about are too many for the others."""

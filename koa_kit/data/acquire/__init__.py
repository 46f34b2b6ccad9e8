"""How a published data set gets onto this machine."""

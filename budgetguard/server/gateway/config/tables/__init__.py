"""What single tables of the file say, for every call: `[gateway]` and `[alerts]`."""

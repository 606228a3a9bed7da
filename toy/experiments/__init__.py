"""One experiment a file; nothing imports them but the command line."""

"""Who may call, and up to how much: the endpoints of keys, and of the limits of their owners."""

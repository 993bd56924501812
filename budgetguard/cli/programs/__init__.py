"""The programs of this machine, and how they are set up: `run`, `doctor`, `config`."""

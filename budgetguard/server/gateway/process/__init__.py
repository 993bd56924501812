"""The gateway as a process, or as several on one port: their beginning, their signals, their end."""

"""Sinks: where alerts go. Each is sent one alert at a time, by a thread of its own, and may take its time or raise."""

"""SDKs whose calls are not seen: `table` has a row for each, `hooks` says so when one is imported."""

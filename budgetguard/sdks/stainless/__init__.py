"""SDKs that Stainless generates: `packages` has a row for each, `hooks` what is patched, `calls` reads one call."""

"""SDKs that Speakeasy generates: `packages` has a row for each, `hooks` is what is patched."""

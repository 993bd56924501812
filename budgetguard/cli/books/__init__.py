"""The books themselves: `import`, `export`, `copy`, `holds`, `check`, `jobs`, `migrate`, `sql`."""

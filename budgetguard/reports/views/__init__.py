"""How each view is worked out, one file a view; `reports.Reports` asks them."""

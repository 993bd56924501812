"""How the page looks, as pure functions: amounts and times as people read them, and charts as geometry."""

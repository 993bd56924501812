"""
The page: budgets, calls and keys in a browser, made on the server, without a build step and without scripts.

From the bottom up: `view` says what a view is, a plain function from a `Look` to a template and its data; `door/` says
who looks; `drawing` makes HTML of what was shown, with the words and charts of `look/`; `views/` and `spending/` have
one file for each part of the table; `live/` tells whoever looks what happens; `desk` answers one request, and `site` is
the ASGI application that hands requests to it.
"""

"""
The server that hosts budgets: `budgetguard serve`, or `app.App` behind an ASGI server of one's own (with uvloop).

It needs the `server` extra: starlette, uvicorn, msgspec and prometheus-client. It holds no budgets itself: they are in
a store, any store, and several servers may stand before one.
"""

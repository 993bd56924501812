"""
The server that hosts budgets: `budgetguard serve`, or `create_app` behind an ASGI server of one's own.

It needs the `server` extra: starlette, uvicorn, msgspec and prometheus-client. It holds no budgets itself: they are in
a store, any store, and several servers may stand before one.
"""

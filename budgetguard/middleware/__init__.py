"""
A scope for each request of a web application: over its view, its body to the last byte, and what it does afterwards.

    app.add_middleware(BudgetMiddleware, user=lambda request: request.headers.get("x-user"), limit=0.10)

This one is for ASGI (FastAPI, Starlette, Litestar); WSGI, Flask, Django and FastAPI's dependencies have a module each.
"""

from .asgi import BudgetMiddleware as BudgetMiddleware

"""
Frameworks: a scope for each request, over its view, its body to the last byte, and what it does afterwards; for each
task; for a notebook.

    app.add_middleware(BudgetMiddleware, user=lambda request: request.headers.get("x-user"), limit=0.10)

This one is for ASGI (FastAPI, Starlette, Litestar). Each other framework has a module, which alone imports it.
"""

from .asgi import BudgetMiddleware as BudgetMiddleware

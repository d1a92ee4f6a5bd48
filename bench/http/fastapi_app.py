"""The FastAPI application under load, apart from the others so that they need no FastAPI."""

from __future__ import annotations

from typing import Any, Optional

from fastapi import FastAPI

app = FastAPI(openapi_url=None)


@app.get("/items/{item_id}")
async def item(item_id: int, q: Optional[str] = None) -> dict[str, Any]:
    """Validate a path and a query parameter, answer JSON."""
    return {"item_id": item_id, "q": q}

"""FastAPI: `pip install fastapi`, then `asgiserve examples.fastapi_app:app`."""

from __future__ import annotations

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def index() -> dict[str, str]:
    return {"hello": "world"}


@app.get("/items/{number}")
async def item(number: int) -> dict[str, int]:
    return {"number": number}

"""A FastAPI application with what real ones use."""

# No `from __future__ import annotations` here: FastAPI reads the annotations of nested functions at run time.

import asyncio
import hashlib
from contextlib import asynccontextmanager
from typing import List, Optional

from fastapi import BackgroundTasks, Depends, FastAPI, File, Form, HTTPException, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from pydantic import BaseModel

notes: list = []


class Item(BaseModel):
    name: str
    price: float
    tags: List[str] = []
    note: Optional[str] = None


class Rejected(Exception):
    pass


@asynccontextmanager
async def lifespan(app):
    yield {"opened": "a database, say", "served": []}
    print("lifespan: shut down", flush=True)


app = FastAPI(lifespan=lifespan)
sub = FastAPI()


def describe(request: Request) -> dict:
    scope = request.scope
    return {
        "url": str(request.url),
        "base_url": str(request.base_url),
        "path": scope["path"],
        "raw_path": scope["raw_path"].decode("latin-1"),
        "root_path": scope["root_path"],
        "query": scope["query_string"].decode("latin-1"),
        "method": scope["method"],
        "scheme": scope["scheme"],
        "http_version": scope["http_version"],
        "type": scope["type"],
    }


@app.exception_handler(Rejected)
async def rejected(request, exc):
    return JSONResponse({"rejected": str(exc)}, status_code=418, headers={"x-reason": "teapot"})


@sub.middleware("http")
async def mark(request: Request, call_next):
    response = await call_next(request)
    response.headers["x-middleware"] = "seen"
    return response


@app.get("/")
async def index():
    return {"hello": "world", "text": "caf\u00e9 \u2603"}


@app.get("/sync")
def sync():
    return {"ran": "in a thread"}


@app.get("/items/{item_id}")
async def get_item(item_id: int, q: Optional[str] = None):
    return {"item_id": item_id, "q": q}


@app.post("/items", status_code=201)
async def create_item(item: Item):
    return item


@app.put("/items/{item_id}")
async def put_item(item_id: int, item: Item):
    return {"item_id": item_id, "name": item.name}


@app.patch("/items/{item_id}")
async def patch_item(item_id: int, request: Request):
    return {"item_id": item_id, "body": (await request.body()).decode()}


@app.delete("/items/{item_id}", status_code=204)
async def delete_item(item_id: int):
    return Response(status_code=204)


@app.post("/form")
async def form(name: str = Form(...), age: int = Form(...)):
    return {"name": name, "age": age}


@app.post("/upload")
async def upload(title: str = Form(...), files: List[UploadFile] = File(...)):  # noqa: B008
    described = []
    for file in files:
        data = await file.read()
        described.append([file.filename, file.content_type, len(data), hashlib.md5(data).hexdigest()])
    return {"title": title, "files": described}


@app.post("/digest")
async def digest(request: Request):
    """The body as a stream, never held as a whole."""
    size, md5 = 0, hashlib.md5()
    try:
        async for piece in request.stream():
            size += len(piece)
            md5.update(piece)
    finally:
        notes.append("ended:" + request.query_params.get("key", ""))
    return {"size": size, "md5": md5.hexdigest()}


@app.post("/unread")
async def unread():
    return {"read": "nothing"}


@app.get("/stream")
async def stream(n: int = 5):
    async def lines():
        for number in range(n):
            yield f"line {number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(lines(), media_type="text/plain")


@app.get("/stream-sync")
def stream_sync():
    return StreamingResponse((f"line {number}\n" for number in range(5)), media_type="text/plain")


@app.get("/large")
async def large():
    return Response(bytes(range(256)) * 4096, media_type="application/octet-stream")


@app.get("/background")
async def background(key: str, tasks: BackgroundTasks):
    async def work():
        await asyncio.sleep(0)
        notes.append("task:" + key)

    def thread_work():
        notes.append("thread:" + key)

    tasks.add_task(work)
    tasks.add_task(thread_work)
    return {"queued": key}


@app.get("/notes")
async def get_notes(key: str):
    return [note for note in notes if note.endswith(":" + key)]


@app.get("/until-disconnected")
async def until_disconnected(key: str, request: Request):
    """Answers nothing while the client is there."""
    notes.append("waiting:" + key)
    while not await request.is_disconnected():
        await asyncio.sleep(0.005)
    notes.append("disconnected:" + key)


@app.get("/endless")
async def endless(key: str):
    """Ends only because StreamingResponse notices that the client left."""

    async def ticks():
        try:
            while True:
                yield "tick\n"
                await asyncio.sleep(0.005)
        finally:
            notes.append("stopped:" + key)

    return StreamingResponse(ticks(), media_type="text/plain")


@app.get("/teapot")
async def teapot():
    raise Rejected("short and stout")


@app.get("/forbidden")
async def forbidden():
    raise HTTPException(403, detail="no", headers={"x-why": "because"})


@app.get("/error")
async def error():
    raise RuntimeError("on purpose")


@app.get("/stream-error")
async def stream_error():
    async def broken():
        yield "begun\n"
        raise RuntimeError("on purpose")

    return StreamingResponse(broken(), media_type="text/plain")


@app.get("/cookies")
async def cookies(response: Response):
    response.set_cookie("a", "1")
    response.set_cookie("b", "2", httponly=True)
    return {"cookies": "set"}


@app.get("/headers")
async def headers(request: Request):
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers.raw]


@app.get("/where")
@app.get("/where/{rest:path}")
async def where(request: Request):
    return describe(request)


@app.get("/state")
async def state(request: Request):
    return {"opened": request.state.opened, "keys": sorted(request.scope["state"])}


@app.get("/redirect")
async def redirect():
    return RedirectResponse("/items/3", status_code=307)


@app.get("/html", response_class=HTMLResponse)
async def html():
    return "<p>caf\u00e9</p>"


@app.get("/not-modified")
async def not_modified():
    return Response(status_code=304, headers={"etag": '"x"'})


@app.get("/empty")
async def empty():
    return PlainTextResponse("")


@app.get("/answers-head")
@app.head("/answers-head")
async def answers_head():
    return PlainTextResponse("with a body for GET")


async def resource():
    yield "resource"
    notes.append("closed:resource")


@app.get("/depends")
async def depends(value: str = Depends(resource)):
    return {"value": value}


@sub.get("/where")
async def sub_where(request: Request):
    return describe(request)


@sub.get("/items/{item_id}")
async def sub_item(item_id: int):
    return {"sub": item_id}


app.mount("/sub", sub)

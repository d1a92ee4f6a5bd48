"""A Starlette application: routes, mounts, static files, classic middleware, streaming, early disconnects."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

notes: list = []


@asynccontextmanager
async def lifespan(app):
    yield {"number": 42}


async def index(request):
    return PlainTextResponse("Hello, Starlette")


async def number(request):
    return JSONResponse({"number": request.state.number, "client_is_known": request.client is not None})


async def zipped(request):
    return PlainTextResponse("words " * 1000)


async def body(request):
    try:
        return JSONResponse({"size": len(await request.body())})
    finally:
        notes.append("ended:" + request.query_params.get("key", ""))


async def get_notes(request):
    return JSONResponse([note for note in notes if note.endswith(":" + request.query_params["key"])])


async def form(request):
    async with request.form() as data:
        fields = {}
        for name, value in data.multi_items():
            fields[name] = value if isinstance(value, str) else [value.filename, len(await value.read())]
    return JSONResponse(fields)


async def stream(request):
    async def pieces():
        for number in range(20):
            yield b"%d," % number
            await asyncio.sleep(0)

    return StreamingResponse(pieces(), background=BackgroundTask(notes.append, "streamed"))


async def file(request):
    return FileResponse(Path(__file__), media_type="text/x-python")


async def any_file(request):
    """Whatever file is asked for: only a test does that."""
    return FileResponse(request.query_params["path"])


async def where(request):
    return JSONResponse(
        {
            "path": request.scope["path"],
            "root_path": request.scope["root_path"],
            "url": str(request.url),
            "named": str(request.url_for("inner:where")),
            "params": request.path_params,
        }
    )


async def fail(request):
    raise RuntimeError("on purpose")


async def stream_fail(request):
    async def pieces():
        yield b"begun"
        raise RuntimeError("on purpose")

    return StreamingResponse(pieces())


inner = [Route("/where/{name}", where), Route("/where", where, name="where")]

app = Starlette(
    lifespan=lifespan,
    middleware=[Middleware(GZipMiddleware, minimum_size=1000)],
    routes=[
        Route("/", index),
        Route("/number", number),
        Route("/zipped", zipped),
        Route("/body", body, methods=["POST"]),
        Route("/form", form, methods=["POST"]),
        Route("/notes", get_notes),
        Route("/stream", stream),
        Route("/file", file),
        Route("/any-file", any_file),
        Route("/fail", fail),
        Route("/stream-fail", stream_fail),
        Mount("/inner", routes=inner, name="inner"),
        Mount("/static", StaticFiles(directory=Path(__file__).parent)),
    ],
)

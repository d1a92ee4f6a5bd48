"""A Django project in one module, served over ASGI: async and sync views, uploads, streaming, cookies, errors."""

from __future__ import annotations

import asyncio
import hashlib

import django
from django.conf import settings
from django.http import FileResponse, Http404, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    DEBUG=False,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for tests",
    DATA_UPLOAD_MAX_MEMORY_SIZE=8 * 1024 * 1024,
    FILE_UPLOAD_MAX_MEMORY_SIZE=64 * 1024,  # so that a larger upload goes through a temporary file
    LOGGING_CONFIG=None,
)

notes: list = []


async def index(request):
    await asyncio.sleep(0)
    return HttpResponse("Hello, Django caf\u00e9")


def sync_view(request):
    return JsonResponse({"method": request.method, "args": request.GET.dict()})


def describe(request, rest=""):
    meta = {key: value for key, value in sorted(request.META.items()) if key.startswith("HTTP_X_")}
    return JsonResponse(
        {
            "path": request.path,
            "info": request.path_info,
            "uri": request.build_absolute_uri(),
            "meta": meta,
            "host": request.get_host(),
            "query": request.META["QUERY_STRING"],
            "type": request.content_type,
        }
    )


async def post(request):
    return JsonResponse({"post": request.POST.dict(), "size": len(request.body)})


def upload(request):
    files = []
    for name, file in sorted(request.FILES.items()):
        files.append([name, file.name, file.size, hashlib.md5(file.read()).hexdigest(), type(file).__name__])
    return JsonResponse({"post": request.POST.dict(), "files": files})


async def stream(request):
    async def lines():
        for number in range(5):
            yield f"line {number}\n"
            await asyncio.sleep(0)

    return StreamingHttpResponse(lines(), content_type="text/plain")


async def until_cancelled(request):
    """Django cancels the response when the client leaves."""
    key = request.GET["key"]

    async def ticks():
        try:
            while True:
                yield "tick\n"
                await asyncio.sleep(0.005)
        finally:
            notes.append("cancelled:" + key)

    return StreamingHttpResponse(ticks(), content_type="text/plain")


async def get_notes(request):
    return JsonResponse({"notes": notes})


def file(request):
    return FileResponse(open(__file__, "rb"), content_type="text/x-python")


def cookies(request):
    response = HttpResponse("set")
    response.set_cookie("a", "1", max_age=None)
    response.set_cookie("b", "two words", httponly=True)
    return response


def redirect(request):
    return HttpResponseRedirect("/sync")


def not_found(request):
    raise Http404("no")


def fail(request):
    raise RuntimeError("on purpose")


def empty(request):
    return HttpResponse(status=204)


def large(request):
    return HttpResponse(bytes(range(256)) * 4096, content_type="application/octet-stream")


urlpatterns = [
    path("", index),
    path("sync", sync_view),
    path("describe", describe),
    path("describe/<path:rest>", describe),
    path("post", post),
    path("upload", upload),
    path("stream", stream),
    path("until-cancelled", until_cancelled),
    path("notes", get_notes),
    path("file", file),
    path("cookies", cookies),
    path("redirect", redirect),
    path("missing", not_found),
    path("fail", fail),
    path("empty", empty),
    path("large", large),
]

django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402

app = get_asgi_application()

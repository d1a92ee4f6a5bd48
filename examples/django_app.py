"""Django in one file: `pip install django`, then `asgiserve examples.django_app:app`."""

from __future__ import annotations

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="an example, not a secret")


async def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"Hello from Django, {request.method}\n", content_type="text/plain")


urlpatterns = [path("", index)]

app = get_asgi_application()

"""The Django project of django_app, served over WSGI."""

from __future__ import annotations

import django_app  # noqa: F401, sets Django up
from django.core.wsgi import get_wsgi_application

app = get_wsgi_application()

"""A Django project with Channels: a consumer, groups over the in-memory layer, and Django behind it for HTTP."""

from __future__ import annotations

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="for tests only",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
)
django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402

ended: dict = {}


def get_ended(request):
    return JsonResponse(ended.get(request.GET["key"]), safe=False)


urlpatterns = [path("ended", get_ended)]


class Room(AsyncJsonWebsocketConsumer):
    """What one says goes to all in the room."""

    async def connect(self):
        self.room = "room_" + self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept(subprotocol=(self.scope["subprotocols"] or [None])[0])
        await self.send_json({"joined": self.room})

    async def receive_json(self, content):
        if content == "close":
            await self.close(4002)
        else:
            await self.channel_layer.group_send(self.room, {"type": "room.message", "content": content})

    async def room_message(self, event):
        await self.send_json(event["content"])

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.room, self.channel_name)
        ended[self.scope["query_string"].decode().partition("=")[2]] = code


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data, bytes_data)


class Reject(AsyncWebsocketConsumer):
    async def connect(self):
        await self.close()


application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter(
            [
                path("rooms/<room>", Room.as_asgi()),
                path("echo", Echo.as_asgi()),
                path("reject", Reject.as_asgi()),
            ]
        ),
    }
)

"""A Flask application, served over WSGI: forms, uploads, streams both ways, files, errors."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from flask import Flask, Response, abort, jsonify, make_response, redirect, request, send_file

app = Flask(__name__)
closed: list = []


@app.route("/")
def index():
    return "Hello, Flask caf\u00e9"


@app.route("/describe", defaults={"rest": ""})
@app.route("/describe/<path:rest>")
def describe(rest):
    return jsonify(
        path=request.path,
        rest=rest,
        root=request.root_path,
        url=request.url,
        args=request.args.to_dict(flat=False),
        one=request.headers.get("X-One"),
        remote=request.remote_addr,
        thread=threading.current_thread().name.partition("_")[0],
    )


@app.route("/form", methods=["POST"])
def form():
    files = {name: [file.filename, len(file.read())] for name, file in request.files.items()}
    return jsonify(fields=request.form.to_dict(), files=files)


@app.route("/json", methods=["POST"])
def json():
    return jsonify(got=request.get_json())


@app.route("/digest", methods=["POST"])
def digest():
    """Reads a body of any size, piece by piece."""
    found, size = hashlib.md5(), 0
    while True:
        piece = request.stream.read(64 * 1024)
        if not piece:
            return jsonify(size=size, md5=found.hexdigest())
        size += len(piece)
        found.update(piece)


@app.route("/echo", methods=["POST"])
def echo():
    """Gives each line as soon as it has come."""
    lines = request.environ["wsgi.input"]
    return Response((line.upper() for line in lines), mimetype="text/plain")


@app.route("/stream")
def stream():
    pieces = (b"%d," % number for number in range(int(request.args.get("n", 5))))
    return Response(pieces, mimetype="text/plain")


@app.route("/endless")
def endless():
    key = request.args.get("key")

    def pieces():
        try:
            while True:
                yield b"x" * 65536
        finally:
            closed.append(key)

    return Response(pieces(), mimetype="application/octet-stream")


@app.route("/closed")
def get_closed():
    return jsonify(closed.count(request.args["key"]))


@app.route("/file")
def file():
    return send_file(Path(__file__), mimetype="text/x-python", conditional=True)


@app.route("/cookies")
def cookies():
    response = make_response("set")
    response.set_cookie("a", "1")
    response.set_cookie("b", "two words", httponly=True)
    return response


@app.route("/redirect")
def go():
    return redirect("/")


@app.route("/empty")
def empty():
    return "", 204


@app.route("/forbidden")
def forbidden():
    abort(403)


@app.route("/fail")
def fail():
    raise RuntimeError("on purpose")


@app.route("/stream-fail")
def stream_fail():
    def pieces():
        yield b"begun" * 20000
        yield b"begun" * 20000
        raise RuntimeError("on purpose")

    return Response(pieces())


@app.route("/greeting")
def greeting():
    return os.environ.get("E2E_GREETING", "none")

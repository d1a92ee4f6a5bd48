"""Where the C sources of llhttp come from.

The compiled stack parses HTTP with llhttp, whose released C code is a dependency of the *build*: it is never
committed here. `obtain()` takes it from the first of these places that has it:

1. the directory named by the environment variable ``ASGISERVE_LLHTTP_DIR`` (for distributors: any llhttp of at
   least `MINIMUM`, laid out as ``src/*.c`` and ``include/llhttp.h``, or all in one directory);
2. ``vendor/llhttp`` beside this file, which our own source distribution bundles;
3. the source distribution of httptools on the package index, which carries it, downloaded through pip so that any
   configured index or mirror is used.

The copies 2 and 3 are pinned: the download and each C file must have the sha256 written here. This module knows
nothing of setuptools; setup.py decides what a failure means.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

ENVIRONMENT_VARIABLE = "ASGISERVE_LLHTTP_DIR"
MINIMUM = (9, 3)

CARRIER = "httptools"
CARRIER_VERSION = "0.9.0"
CARRIER_SHA256 = "d484ebb7e3a3f3597b0f645fbd1b85633674ca808c1f5ba11c2caf7c66f5c8b6"
CARRIER_FOLDER = "vendor/llhttp"

FILES = {
    "src/api.c": "0f8590206fe2f264db2825401b5fb856b979ee1363dc88b06f36dc9577afb941",
    "src/http.c": "a1f2b23168f8e9b5bfa464c89027d3ca259fc649ae3d7e72bfff997d1aeb5d72",
    "src/llhttp.c": "391e7c99912abf3b1c9dd8a9c85fdeaac2663e9fa55b6f3871154d16fef8b892",
    "include/llhttp.h": "5bc82fa51b19aa8bee7d921038393fbfc74e8cc9bae0844c2d82c102fb8cfd68",
    "LICENSE": "628168d68bb5a8a17e0bbefb3bd74e326e1edc20583d76f52f457c82c921867d",
}


class LlhttpError(Exception):
    """The sources are not to be had, or are not the ones that were pinned. The text is for the user."""


class Llhttp(NamedTuple):
    """One usable copy of llhttp."""

    sources: list[str]  # api.c http.c llhttp.c
    include_dir: str
    licence: str | None
    version: str


def obtain(root: Path, cache: Path) -> Llhttp:
    """Return the llhttp to compile, downloading it into `cache` if that is the only way.

    `root` is the directory of setup.py. Raises `LlhttpError`.
    """
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        return _describe(Path(chosen), f"{ENVIRONMENT_VARIABLE}={chosen}")
    bundled = root / "vendor" / "llhttp"
    if bundled.is_dir():
        verify(bundled)
        return _describe(bundled, str(bundled))
    if not _is_complete(cache):
        _download(cache)
    return _describe(cache, str(cache))


def verify(folder: Path) -> None:
    """Check every pinned file under `folder`. Raises `LlhttpError` naming the first that is missing or differs."""
    for name, expected in FILES.items():
        path = folder / name
        if not path.is_file():
            raise LlhttpError(f"{path} is missing")
        actual = hashlib.sha256(path.read_bytes()).hexdigest()
        if actual != expected:
            raise LlhttpError(f"{path} is not the pinned file: sha256 is {actual}, expected {expected}")


def unpack(archive: Path, folder: Path) -> None:
    """Take the pinned files out of the carrier's source distribution into `folder`, all or none.

    Raises `LlhttpError` when the archive or a file in it is not the pinned one.
    """
    actual = hashlib.sha256(archive.read_bytes()).hexdigest()
    if actual != CARRIER_SHA256:
        raise LlhttpError(f"{archive.name} is not the pinned file: sha256 is {actual}, expected {CARRIER_SHA256}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        # Members are read by name and written where we say, so nothing in the archive chooses a path.
        with tarfile.open(archive) as tar:
            for name in FILES:
                member = tar.extractfile(f"{CARRIER}-{CARRIER_VERSION}/{CARRIER_FOLDER}/{name}")
                if member is None:
                    raise LlhttpError(f"{archive.name} has no {CARRIER_FOLDER}/{name}")
                target = Path(scratch, "llhttp", name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(member.read())
        verify(Path(scratch, "llhttp"))
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(Path(scratch, "llhttp"), folder)


def copy(source: Llhttp, folder: Path) -> None:
    """Lay `source` out under `folder` as `obtain()` expects a bundled copy; the result is verified."""
    names = [*(f"src/{Path(path).name}" for path in source.sources), "include/llhttp.h"]
    paths = [*source.sources, str(Path(source.include_dir, "llhttp.h"))]
    if source.licence is not None:
        names.append("LICENSE")
        paths.append(source.licence)
    for name, path in zip(names, paths):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    verify(folder)


def _is_complete(folder: Path) -> bool:
    try:
        verify(folder)
    except LlhttpError:
        return False
    return True


def _download(cache: Path) -> None:
    wanted = f"{CARRIER}=={CARRIER_VERSION}"
    with tempfile.TemporaryDirectory() as scratch:
        # A requirements file is the only way to give pip a hash, and pip checks it before it looks inside.
        requirements = Path(scratch, "requirements.txt")
        requirements.write_text(f"{wanted} --hash=sha256:{CARRIER_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
        command += ["--retries", "2", "--no-deps", "--no-binary", CARRIER, "--require-hashes"]
        # setuptools is importable, since it runs us: pip need not build an environment to read the metadata.
        command += ["--no-build-isolation", "--dest", scratch, "--requirement", str(requirements)]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        archive = Path(scratch, f"{CARRIER}-{CARRIER_VERSION}.tar.gz")
        if result.returncode != 0 or not archive.is_file():
            output = result.stdout.decode("utf-8", "replace").strip().splitlines()
            errors = [line for line in output if "ERROR" in line] or output[-3:]
            raise LlhttpError(f"pip could not download {wanted}: " + " | ".join(errors or ["no output"]))
        unpack(archive, cache)


def _describe(folder: Path, label: str) -> Llhttp:
    def locate(name: str) -> Path | None:
        for candidate in (folder / name, folder / Path(name).name):
            if candidate.is_file():
                return candidate
        return None

    found = {name: locate(name) for name in FILES}
    licence = found.pop("LICENSE") or locate("LICENSE-MIT")
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise LlhttpError(f"{label} has no {', '.join(missing)}")
    sources = [str(path) for name, path in found.items() if path is not None and name.endswith(".c")]
    header = found["include/llhttp.h"]
    assert header is not None
    numbers = re.findall(r"#define LLHTTP_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header.read_text("utf-8"))
    version = tuple(int(number) for number in numbers)
    if len(version) != 3 or version < MINIMUM:
        raise LlhttpError(f"{label} holds llhttp {'.'.join(numbers) or 'of unknown version'}, not {MINIMUM} or later")
    return Llhttp(sources, str(header.parent), str(licence) if licence else None, ".".join(numbers))

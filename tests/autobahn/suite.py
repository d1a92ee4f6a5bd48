"""Where the Autobahn test suite comes from, and how it comes to run on Python 3.

The suite is written for Python 2.7 and is no part of this project. `obtain()` downloads its source distribution through
pip, pinned by sha256, makes the few changes below, which have to fit exactly, and lays the result beside an
environment with the libraries it needs. All of it lives under one directory, which is made once and can be deleted.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import warnings
from pathlib import Path, PurePosixPath

NAME, VERSION = "autobahntestsuite", "25.10.1"
SHA256 = "b083d6e15330fc16f3e5f0975cce2b15f21bfa0c6db09547316b1852c6dbd6df"
HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"

KEPT = re.compile(r"case/\w+\.py|(caseset|fuzzing)\.py|testdata/.+")

# (files, pattern, replacement, how often it has to match in all, None for at least once), applied in this order.
CHANGES = [
    # The language.
    (r".*", r"^(\s*)print *$", r"\1print()", None),
    (r".*", r"^(\s*)print (?!\()(.+)$", r"\1print(\2)", None),
    (r".*", r"([\w.]+(?:\[\w+\])?)\.has_key\(([^()]+)\)", r"(\2 in \1)", None),
    (r".*", r"\bxrange\(", "range(", None),
    (r"case/case10_1_1.py", r"len\(self\.payload\) / ", "len(self.payload) // ", 1),
    (r".*", r"^from (case\w*) import", r"from .\1 import", None),
    (r"case/.*", r"\(object, Case, \)", "(Case, )", None),
    (r"case/case9_9_1.py", r"^from zope\.interface import implements$", "", 1),
    (r"case/case9_9_1.py", r"^ +implements\(.*$", "", 1),
    # Sources are read as Latin-1, so that a literal's characters are its bytes: see bytestrings.py.
    (r".*", r"^# coding=utf-8$", "# coding=latin-1", None),
    (r".*", r"^( *)import binascii$", r"\1import bytestrings as binascii", None),
    (r".*", r"^(import .+), binascii\b(.*)$", r"\1\2\nimport bytestrings as binascii", 2),
    (
        r".*",
        r"^from autobahn\.websocket\.utf8validator import Utf8Validator$",
        "from bytestrings import Utf8Validator",
        None,
    ),
    (r"fuzzing.py", r"\bdd\.decode\('utf8'", "dd.encode('latin-1').decode('utf8'", 1),
    # Pickles of equal things differ when one of them holds a string twice.
    (r"case/case.py", r"pickle\.dumps\(obj1\) == pickle\.dumps\(obj2\)", "obj1 == obj2", 1),
    # The pages for people are not made, and would need one more library.
    (r"fuzzing.py", r"^from report import (?:\w+, \\\n *)*\w+$", "", 1),
    # TLS is not tested here, and would need one more library.
    (r"fuzzing.py", r"^from twisted\.internet import reactor, ssl$", "from twisted.internet import reactor", 1),
    (r"fuzzing.py", r"= ssl\.ClientContextFactory\(\)", "= None", 1),
]


class SuiteError(Exception):
    """The suite is not to be had, or is not the one the changes are for. The text is for the user."""


def obtain(root: Path) -> tuple[Path, Path]:
    """(the Python to run the suite with, the directory to import `autobahntestsuite` from), below `root`.

    Downloads what is not there yet, or was made from other pins or changes. Raises `SuiteError`.
    """
    key = hashlib.sha256(b"".join(path.read_bytes() for path in (Path(__file__), REQUIREMENTS))).hexdigest()[:12]
    home = root / f"{sys.implementation.cache_tag}-{key}"
    python = home / "env" / "bin" / "python"
    done = home / "done"
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
        _run([sys.executable, "-m", "venv", home / "env"])
        pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
        # setuptools first: what is old here is built with the one pinned, since newer ones cannot.
        tools = [line for line in REQUIREMENTS.read_text().split() if line.startswith(("setuptools==", "wheel=="))]
        _run([*pip, "install", *tools])
        _run([*pip, "install", "--no-build-isolation", "--no-deps", "--requirement", REQUIREMENTS])
        with tempfile.TemporaryDirectory() as scratch:
            port(_download(pip, Path(scratch)), home / "suite")
        done.touch()
    return python, home / "suite"


def port(archive: Path, folder: Path) -> None:
    """Write the suite in `archive`, changed for Python 3, to `folder`. Raises `SuiteError` where a change misses."""
    counts = [0] * len(CHANGES)
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            path = PurePosixPath(member.name)
            name = str(PurePosixPath(*path.parts[2:]))
            source = tar.extractfile(member) if member.isfile() else None
            if source is None or path.parts[1] != NAME or ".." in path.parts or not KEPT.fullmatch(name):
                continue
            data = source.read()
            if name.endswith(".py"):
                data = _change(name, data.decode("latin-1").replace("\r\n", "\n"), counts).encode("latin-1")
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    compile(data, name, "exec", dont_inherit=True)
            target = folder / NAME / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    for (_files, pattern, _replacement, expected), count in zip(CHANGES, counts):
        if count == 0 or (expected is not None and count != expected):
            raise SuiteError(f"{pattern!r} is in {NAME} {VERSION} {count} times, not {expected or 'at least once'}")
    (folder / NAME / "__init__.py").write_text(f'version = "{VERSION}"\n')


def _change(name: str, text: str, counts: list[int]) -> str:
    for index, (files, pattern, replacement, _expected) in enumerate(CHANGES):
        if re.fullmatch(files, name):
            text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
            counts[index] += count
    return text


def _download(pip: list, folder: Path) -> Path:
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{NAME}=={VERSION} --hash=sha256:{SHA256}\n")
    download = [*pip, "download", "--no-deps", "--no-binary", NAME, "--no-build-isolation", "--require-hashes"]
    _run([*download, "--dest", folder, "--requirement", pinned])
    archive = folder / f"{NAME}-{VERSION}.tar.gz"
    actual = hashlib.sha256(archive.read_bytes()).hexdigest()
    if actual != SHA256:
        raise SuiteError(f"{archive.name} is not the pinned file: sha256 is {actual}, expected {SHA256}")
    return archive


def _run(command: list) -> None:
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode != 0:
        lines = result.stdout.decode("utf-8", "replace").strip().splitlines()
        raise SuiteError(f"{' '.join(map(str, command))} failed:\n" + "\n".join(lines[-20:]))

"""build_llhttp: only the pinned files are compiled, and each place is taken in its turn."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile

import pytest

CONTENT = {"src/api.c": b"api", "src/http.c": b"http", "src/llhttp.c": b"llhttp", "LICENSE": b"licence"}
HEADER = b"#define LLHTTP_VERSION_MAJOR 9\n#define LLHTTP_VERSION_MINOR 4\n#define LLHTTP_VERSION_PATCH 3\n"


@pytest.fixture
def pinned(build_llhttp, monkeypatch):
    """The module, pinning small files of our own; the variable is not set."""
    content = {**CONTENT, "include/llhttp.h": HEADER}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    monkeypatch.setattr(build_llhttp, "FILES", hashes)
    monkeypatch.setattr(build_llhttp, "CONTENT", content, raising=False)
    monkeypatch.delenv("ASGISERVE_LLHTTP_DIR", raising=False)
    return build_llhttp


def write(folder, content):
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def archive(path, content):
    """An archive such as the carrier's; returns its hash."""
    with tarfile.open(path, "w:gz") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(f"httptools-0.9.0/vendor/llhttp/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_verify(pinned, tmp_path):
    write(tmp_path, pinned.CONTENT)
    pinned.verify(tmp_path)


@pytest.mark.parametrize("name", [*CONTENT, "include/llhttp.h"])
def test_changed_file_is_refused(pinned, tmp_path, name):
    write(tmp_path, pinned.CONTENT)
    (tmp_path / name).write_bytes(pinned.CONTENT[name] + b" ")
    with pytest.raises(pinned.LlhttpError, match="not the pinned file: sha256 is"):
        pinned.verify(tmp_path)


def test_missing_file_is_refused(pinned, tmp_path):
    write(tmp_path, pinned.CONTENT)
    (tmp_path / "src/http.c").unlink()
    with pytest.raises(pinned.LlhttpError, match=r"http\.c is missing"):
        pinned.verify(tmp_path)


def test_unpack(pinned, tmp_path, monkeypatch):
    path = tmp_path / "httptools-0.9.0.tar.gz"
    monkeypatch.setattr(pinned, "CARRIER_SHA256", archive(path, pinned.CONTENT))
    pinned.unpack(path, tmp_path / "cache")
    pinned.verify(tmp_path / "cache")


def test_changed_archive_is_refused(pinned, tmp_path):
    path = tmp_path / "httptools-0.9.0.tar.gz"
    archive(path, pinned.CONTENT)
    with pytest.raises(pinned.LlhttpError, match=r"httptools-0\.9\.0\.tar\.gz is not the pinned file"):
        pinned.unpack(path, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_changed_file_in_archive_is_refused(pinned, tmp_path, monkeypatch):
    path = tmp_path / "httptools-0.9.0.tar.gz"
    monkeypatch.setattr(pinned, "CARRIER_SHA256", archive(path, {**pinned.CONTENT, "src/api.c": b"other"}))
    with pytest.raises(pinned.LlhttpError, match="not the pinned file"):
        pinned.unpack(path, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_pins_are_whole(build_llhttp):
    assert sorted(build_llhttp.FILES) == ["LICENSE", "include/llhttp.h", "src/api.c", "src/http.c", "src/llhttp.c"]
    assert all(len(value) == 64 for value in [*build_llhttp.FILES.values(), build_llhttp.CARRIER_SHA256])


def test_named_directory_comes_first(pinned, tmp_path, monkeypatch):
    write(tmp_path / "vendor" / "llhttp", pinned.CONTENT)
    named = {**pinned.CONTENT, "src/api.c": b"patched", "include/llhttp.h": HEADER.replace(b"MINOR 4", b"MINOR 5")}
    write(tmp_path / "named", named)
    monkeypatch.setenv("ASGISERVE_LLHTTP_DIR", str(tmp_path / "named"))
    found = pinned.obtain(tmp_path, tmp_path / "cache")
    assert found.version == "9.5.3"
    assert {os.path.dirname(path) for path in found.sources} == {str(tmp_path / "named" / "src")}


def test_named_directory_may_be_flat(pinned, tmp_path, monkeypatch):
    write(tmp_path / "flat", {name.rpartition("/")[2]: data for name, data in pinned.CONTENT.items()})
    monkeypatch.setenv("ASGISERVE_LLHTTP_DIR", str(tmp_path / "flat"))
    found = pinned.obtain(tmp_path, tmp_path / "cache")
    assert found.include_dir == str(tmp_path / "flat")
    assert sorted(map(os.path.basename, found.sources)) == ["api.c", "http.c", "llhttp.c"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"include/llhttp.h": HEADER.replace(b"MINOR 4", b"MINOR 2")}, r"holds llhttp 9\.2\.3"),
        ({"include/llhttp.h": b"nothing"}, "of unknown version"),
        ({"src/http.c": None}, r"ASGISERVE_LLHTTP_DIR=.* has no src/http\.c"),
    ],
)
def test_named_directory_must_do(pinned, tmp_path, monkeypatch, change, message):
    content = {name: data for name, data in {**pinned.CONTENT, **change}.items() if data is not None}
    write(tmp_path / "named", content)
    monkeypatch.setenv("ASGISERVE_LLHTTP_DIR", str(tmp_path / "named"))
    with pytest.raises(pinned.LlhttpError, match=message):
        pinned.obtain(tmp_path, tmp_path / "cache")


def test_bundled_copy(pinned, tmp_path):
    bundled = tmp_path / "vendor" / "llhttp"
    write(bundled, pinned.CONTENT)
    found = pinned.obtain(tmp_path, tmp_path / "cache")
    assert (found.version, found.include_dir) == ("9.4.3", str(bundled / "include"))
    (bundled / "src" / "llhttp.c").write_bytes(b"changed")
    with pytest.raises(pinned.LlhttpError, match="not the pinned file"):
        pinned.obtain(tmp_path, tmp_path / "cache")


def test_download_is_kept_and_checked_again(pinned, tmp_path, monkeypatch):
    downloads = []

    def download(cache):
        downloads.append(cache)
        shutil.rmtree(cache, ignore_errors=True)
        write(cache, pinned.CONTENT)

    monkeypatch.setattr(pinned, "_download", download)
    cache = tmp_path / "cache"
    pinned.obtain(tmp_path, cache)
    pinned.obtain(tmp_path, cache)
    assert len(downloads) == 1
    (cache / "src" / "api.c").write_bytes(b"changed")
    pinned.obtain(tmp_path, cache)
    assert len(downloads) == 2


def test_copy_is_a_bundle(pinned, tmp_path):
    write(tmp_path / "cache", pinned.CONTENT)
    pinned.copy(pinned.obtain(tmp_path, tmp_path / "cache"), tmp_path / "vendor" / "llhttp")
    assert pinned.obtain(tmp_path, tmp_path / "none").include_dir == str(tmp_path / "vendor" / "llhttp" / "include")


def test_failed_download_says_what_pip_said(build_llhttp, tmp_path, monkeypatch):
    pytest.importorskip("pip")
    monkeypatch.delenv("ASGISERVE_LLHTTP_DIR", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(build_llhttp.LlhttpError, match=r"pip could not download httptools==0\.9\.0: .*ERROR"):
        build_llhttp.obtain(tmp_path, tmp_path / "cache")

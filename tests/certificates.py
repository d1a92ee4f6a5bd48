"""Certificates for the tests, made anew in each run: an authority, and what it issues."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

PASSWORD = "open sesame"
HOSTS = ("localhost", "127.0.0.1")


class Issued:
    """A certificate with its key as PEM files: `certificate` (with the chain), `key`, `locked` (key with PASSWORD)."""

    def __init__(self, folder: Path, name: str, issued: Any) -> None:
        self.certificate = str(folder / f"{name}.pem")
        self.key = str(folder / f"{name}.key")
        self.locked = str(folder / f"{name}.locked.key")
        self.both = str(folder / f"{name}.both.pem")
        Path(self.certificate).write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        Path(self.key).write_bytes(issued.private_key_pem.bytes())
        issued.private_key_and_cert_chain_pem.write_to_path(self.both)
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        encryption = serialization.BestAvailableEncryption(PASSWORD.encode())
        Path(self.locked).write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        self.pem = issued.cert_chain_pems[0].bytes().decode()
        self.parsed = x509.load_pem_x509_certificate(self.pem.encode())

    @property
    def options(self) -> dict[str, str]:
        """The options of a server that has it."""
        return {"ssl_certfile": self.certificate, "ssl_keyfile": self.key}


class Certificates:
    """An authority (`path` is its certificate) with one server's certificate (`server`) and one client's (`client`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.path = str(folder / "authority.pem")
        self._authority.cert_pem.write_to_path(self.path)
        self.server = self.issue("server", *HOSTS)
        self.client = self.issue("client", common_name="Ann", organization_name="A, B & C")

    def issue(self, name: str, *hosts: str, **subject: Any) -> Issued:
        """A new certificate, in files of that name."""
        identities = hosts or ("client@example.org",)
        issued = self._authority.issue_cert(*identities, key_type=trustme.KeyType.ECDSA, **subject)
        return Issued(self.folder, name, issued)

    def client_context(self, certificate: Any = None) -> ssl.SSLContext:
        """The context of a client that trusts the authority, with a certificate of its own when given."""
        context = ssl.create_default_context(cafile=self.path)
        if certificate is not None:
            context.load_cert_chain(certificate.certificate, certificate.key)
        return context

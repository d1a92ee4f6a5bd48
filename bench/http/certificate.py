"""The certificate that the servers use in the rows over TLS: made once per run, for 127.0.0.1."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from dataclasses import dataclass


@dataclass(frozen=True)
class Certificate:
    """Paths of PEM files: the authority, and the server's certificate and private key (ECDSA, P-256)."""

    authority: str
    certificate: str
    key: str


@functools.cache
def certificate() -> Certificate:
    """The files; they are removed when the program ends."""
    import trustme

    folder = tempfile.mkdtemp(prefix="bench-tls")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = Certificate(*(os.path.join(folder, name) for name in ("authority.pem", "certificate.pem", "key.pem")))
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    issued = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(made.authority)
    issued.private_key_pem.write_to_path(made.key)
    for pem in issued.cert_chain_pems:
        pem.write_to_path(made.certificate, append=True)
    return made

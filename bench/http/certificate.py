"""The certificate that the servers use in the rows over TLS: made once per run, for 127.0.0.1."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from ..scratch import folder


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

    made = Certificate(*(str(folder() / name) for name in ("authority.pem", "certificate.pem", "key.pem")))
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    issued = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(made.authority)
    issued.private_key_pem.write_to_path(made.key)
    for pem in issued.cert_chain_pems:
        pem.write_to_path(made.certificate, append=True)
    return made

"""TLS: makes the context from the options, reloads it when the certificate changes, describes a connection to ASGI.

Mistakes are :class:`asgiserve.options.OptionError`, one line each. How TLS is spoken on a connection is the core's
business (``_core/tls.py``).
"""

from __future__ import annotations

import logging
import math
import os
import re
import ssl
from typing import TYPE_CHECKING, Any, Callable, Optional, Tuple

from . import x509
from .options import OptionError

if TYPE_CHECKING:
    from .config import Config

logger = logging.getLogger("asgiserve.error")

CHECK_INTERVAL = 1.0
"""Seconds between two looks at the files. A change is taken up when a second look finds the files at rest."""

_VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
_MINIMUM = {"tls1.2": ssl.TLSVersion.TLSv1_2, "tls1.3": ssl.TLSVersion.TLSv1_3}
_NO_RENEGOTIATION = getattr(ssl, "OP_NO_RENEGOTIATION", 0x40000000)  # PyPy lacks the name
_CERTIFICATE = re.compile(r"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")
_PLAIN_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s.+?\s-----END CERTIFICATE-----\n?", re.DOTALL)
_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")

Signature = Tuple[Optional[Tuple[int, int, int]], ...]


class TLS:
    """What the TLS connections of a server share.

    ``current`` (:class:`Served`) is for new connections; each reload replaces it, and connections keep the one they
    began with. ``timeout`` is the seconds that a handshake may take (``math.inf``: no bound). Raises
    :class:`OptionError`.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        timeout = config.timeout_ssl_handshake
        self.timeout = math.inf if timeout is None else float(timeout)
        self._paths = [path for path in (config.ssl_certfile, config.ssl_keyfile, config.ssl_ca_certs) if path]
        self._next_check = 0.0
        self._seen: Signature = ()
        self._changed: Optional[Signature] = None
        self._load()

    def _load(self) -> None:
        # The files may change while they are read: then the next look sees it.
        self._seen = _signature(self._paths)
        self._changed = None
        self.current = Served(*make_context(self._config))

    def reload(self) -> bool:
        """Reads the files again, for the connections to come. On a mistake the old certificate stays.

        Returns whether it went well; the log says so too.
        """
        try:
            self._load()
        except OptionError as exc:
            logger.error("The TLS certificate was not reloaded, the old one stays: %s", exc)
            return False
        logger.info("The TLS certificate was reloaded")
        return True

    def check(self, now: float) -> None:
        """Reloads when the files have changed; looks at them once in a while only. `now` is in seconds."""
        if now < self._next_check:
            return
        self._next_check = now + CHECK_INTERVAL
        found = _signature(self._paths)
        if found == self._seen:
            self._changed = None
        elif found != self._changed:
            self._changed = found  # perhaps the key has yet to follow the certificate
        else:
            self.reload()


class Served:
    """A context, and the certificate that it serves as PEM, where that is known."""

    def __init__(self, context: ssl.SSLContext, certificate: Optional[str]) -> None:
        self.context = context
        self._certificate = certificate
        self._suites = {cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()}

    def extension(self, connection: ssl.SSLObject) -> dict[str, Any]:
        """The ASGI ``tls`` extension (version 0.2) of a connection whose handshake is done."""
        chain = _client_chain(connection)
        cipher = connection.cipher()
        is_ours = connection.context is self.context  # an SNI callback may have put another in its place
        return {
            "server_cert": self._certificate if is_ours else None,
            "client_cert_chain": tuple(ssl.DER_cert_to_PEM_cert(der) for der in chain),
            "client_cert_name": x509.subject(chain[0]) if chain else None,
            # A certificate that cannot be verified ends the handshake.
            "client_cert_error": None,
            "tls_version": _VERSIONS.get(connection.version() or ""),
            "cipher_suite": self._suites.get(cipher[0]) if cipher else None,
        }


def _client_chain(connection: ssl.SSLObject) -> list[bytes]:
    """The certificates that the client has sent, its own first; before Python 3.13 its own only."""
    leaf = connection.getpeercert(True)
    if not leaf:
        return []
    get_chain: Optional[Callable[[], list[bytes]]] = getattr(connection, "get_unverified_chain", None)
    return (get_chain() if get_chain is not None else None) or [leaf]


def _signature(paths: list[str]) -> Signature:
    """What tells one version of the files from another. Names that are links, as in Kubernetes, are followed."""
    return tuple(map(_file_signature, paths))


def _file_signature(path: str) -> Optional[tuple[int, int, int]]:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


# -- the context


def make_context(config: Config) -> tuple[ssl.SSLContext, Optional[str]]:
    """The context that the options ask for, and the certificate it serves as PEM, where that is known.

    Raises :class:`OptionError`.
    """
    if config.ssl_context_factory is None:
        context, certificate = _default_context(config)
    else:
        context, certificate = _call_factory(config, config.ssl_context_factory)
    # Nobody needs it, and writing could then have to wait for reading.
    context.options |= _NO_RENEGOTIATION
    return context, certificate


def _call_factory(config: Config, factory: Callable[..., Any]) -> tuple[ssl.SSLContext, Optional[str]]:
    made: list[tuple[ssl.SSLContext, Optional[str]]] = []

    def default_factory() -> ssl.SSLContext:
        made.append(_default_context(config))
        return made[-1][0]

    try:
        context = factory(config, default_factory)
        if not isinstance(context, ssl.SSLContext):
            raise TypeError(f"it returned {context!r}, which is not an ssl.SSLContext")
        if context.protocol == ssl.PROTOCOL_TLS_CLIENT:
            raise TypeError("it returned a context for clients")
    except OptionError:
        raise
    except Exception as exc:
        raise OptionError("ssl_context_factory", f"{type(exc).__name__}: {' '.join(str(exc).split())}") from exc
    for default, certificate in made:
        if default is context:
            return context, certificate
    return context, None


def _default_context(config: Config) -> tuple[ssl.SSLContext, Optional[str]]:
    if not config.ssl_certfile:
        given = "ssl_keyfile" if config.ssl_keyfile else "the default context"
        raise OptionError("ssl_certfile", f"missing, {given} needs it")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _set_versions(config, context)
    certificate = _load_certificate(config, context, config.ssl_certfile)
    if config.ssl_ca_certs:
        _load_authorities(context, config.ssl_ca_certs)
    elif config.ssl_cert_reqs:
        raise OptionError("ssl_ca_certs", "missing, ssl_cert_reqs needs it to verify the certificates of clients")
    context.verify_mode = ssl.VerifyMode(config.ssl_cert_reqs)
    if config.ssl_ciphers:
        try:
            context.set_ciphers(config.ssl_ciphers)
        except ssl.SSLError:
            raise OptionError("ssl_ciphers", f"{config.ssl_ciphers!r} names no cipher that OpenSSL has") from None
    if ssl.HAS_ALPN:
        context.set_alpn_protocols(["h2", "http/1.1"] if config.http2 else ["http/1.1"])
    return context, certificate


def _set_versions(config: Config, context: ssl.SSLContext) -> None:
    context.minimum_version = _MINIMUM[config.ssl_minimum_version]
    if config.ssl_version == ssl.PROTOCOL_TLSv1_2:
        if config.ssl_minimum_version != "tls1.2":
            raise OptionError("ssl_version", f"5 is TLS 1.2, and ssl_minimum_version is {config.ssl_minimum_version}")
        context.maximum_version = ssl.TLSVersion.TLSv1_2


def _load_certificate(config: Config, context: ssl.SSLContext, path: str) -> Optional[str]:
    """Loads certificate and key. Returns the certificate itself, as PEM."""
    key_path = config.ssl_keyfile or path
    text = _read("ssl_certfile", path)
    if not _CERTIFICATE.search(text):
        raise OptionError("ssl_certfile", f"{path}: there is no certificate in it, in PEM form")
    key_text = _read("ssl_keyfile", key_path) if config.ssl_keyfile else text
    if not _KEY.search(key_text):
        hint = "" if config.ssl_keyfile else "missing, and "
        raise OptionError("ssl_keyfile", f"{hint}{key_path}: there is no private key in it, in PEM form")
    asked: list[bool] = []

    def password() -> str:
        asked.append(True)
        if config.ssl_keyfile_password is None:
            raise OptionError("ssl_keyfile_password", f"missing, the private key in {key_path} is encrypted")
        return config.ssl_keyfile_password

    try:
        context.load_cert_chain(path, config.ssl_keyfile, password)
    except (OSError, ValueError) as exc:
        raise _key_error(exc, path, text, key_path, bool(asked)) from None
    found = _PLAIN_CERTIFICATE.search(text)
    return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(found.group().strip())) if found else None


def _key_error(exc: Exception, path: str, text: str, key_path: str, asked: bool) -> OptionError:
    reason = (getattr(exc, "reason", None) or str(exc)).replace("_", " ").lower()
    if "mismatch" in reason or "no certificate assigned" in reason:  # the latter for keys of different kinds
        return OptionError("ssl_keyfile", f"the private key in {key_path} does not belong to the certificate in {path}")
    if not _is_readable(text):
        return OptionError("ssl_certfile", f"{path}: the certificate is damaged")
    if "too small" in reason or "too weak" in reason:
        return OptionError("ssl_certfile", f"{path}: OpenSSL refuses the certificate: {reason}")
    if asked:
        return OptionError("ssl_keyfile_password", f"it does not open the private key in {key_path}")
    return OptionError("ssl_keyfile", f"{key_path}: the private key cannot be used: {reason}")


def _is_readable(text: str) -> bool:
    found = _PLAIN_CERTIFICATE.search(text)
    if not found:
        return True  # of a rarer kind
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=found.group())
    except (ssl.SSLError, ValueError):
        return False
    return True


def _load_authorities(context: ssl.SSLContext, path: str) -> None:
    if os.path.isdir(path):
        context.load_verify_locations(capath=path)
        return
    if not _CERTIFICATE.search(_read("ssl_ca_certs", path)):
        raise OptionError("ssl_ca_certs", f"{path}: there is no certificate in it, in PEM form")
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, ValueError):
        raise OptionError("ssl_ca_certs", f"{path}: a certificate in it is damaged") from None


def _read(option: str, path: str) -> str:
    try:
        with open(path, encoding="latin-1") as file:
            return file.read()
    except OSError as exc:
        raise OptionError(option, f"{path}: {(exc.strerror or str(exc)).lower()}") from None

"""The option table: the one place that knows every setting of the server.

Each :class:`Option` gives a name, the kind of value, the default, a group and a help text. Everything else is made
from it: the command line (:mod:`asgiserve.cli`), the environment names, the attributes and checks of
:class:`asgiserve.Config`, the documentation.

This module must not know click, the environment or the server. Bad values raise :class:`OptionError`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

from .errors import ConfigError
from .logging import LOG_LEVELS, LOGGING_CONFIG
from .option_kinds import CHECKS
from .trust import DEFAULT_PEERS

ENV_PREFIX = "ASGISERVE_"

#: The headers in which proxies say whom a request is from.
FORWARDING_HEADERS = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "forwarded",
)


class OptionError(ConfigError):
    """A setting is wrong.

    ``name`` (str) is the option's Python name, ``reason`` (str) says in one line what is wrong with it.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class UnknownOption(OptionError, TypeError):
    """There is no option of that name: a wrong setting, and in Python a wrong keyword."""


class Option(NamedTuple):
    """One setting.

    ``kind`` is a key of :data:`asgiserve.option_kinds.CHECKS`. A *flag* is on or off and has a ``--no-`` form; a
    *switch* is off until named; a *boolean* takes a word. ``optional`` means that None (as text: ``none``) is a value.
    ``default_text`` is what the help shows where the default itself says too little.
    """

    name: str
    kind: str
    default: Any
    group: str
    help: str
    choices: tuple[str, ...] = ()
    minimum: Optional[float] = None
    maximum: Optional[float] = None
    optional: bool = False
    cli: str = ""
    metavar: str = ""
    default_text: str = ""
    alias_of: str = ""
    secret: bool = False

    @property
    def env(self) -> str:
        """The environment variable that the command line reads."""
        return ENV_PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        """The long form on the command line, such as ``--log-level``; for the application: ``APP``."""
        if self.kind == "app":
            return "APP"
        return self.cli or "--" + self.name.replace("_", "-")

    def clean(self, value: Any) -> Any:
        """Checks `value`, be it text (command line, environment) or an object (``Config``).

        Returns the value in its final type. Raises :class:`OptionError`.
        """
        if self.optional and (value is None or (isinstance(value, str) and value.strip().lower() == "none")):
            return None
        try:
            return CHECKS[self.kind](self, value)
        except ValueError as exc:
            raise OptionError(self.name, str(exc)) from None


_APP, _SOCKETS, _ENGINE, _WEBSOCKETS, _LOGS = "Application", "Sockets", "Engine", "WebSockets", "Logging"
_PROXIES = "Proxies in front"
_RESPONSES, _LIMITS, _TIMEOUTS = "Responses", "Limits", "Timeouts (seconds; none switches one off)"
_TLS = "TLS"
_PROCESSES, _RELOAD, _METRICS = "Processes", "Development", "Metrics"


def _timeout(name: str, default: Optional[float], text: str) -> Option:
    return Option(name, "seconds", default, _TIMEOUTS, text, optional=True, minimum=0)


OPTIONS: tuple[Option, ...] = (
    Option("app", "app", None, _APP, "The application, as module:attribute."),
    Option("factory", "switch", False, _APP, "APP is a function without parameters that returns the application."),
    Option(
        "app_dir",
        "path",
        "",
        _APP,
        "Look for the application in this directory first.",
        optional=True,
        metavar="DIRECTORY",
        default_text="the current directory",
    ),
    Option(
        "interface",
        "choice",
        "auto",
        _APP,
        "What the application is; auto judges by its parameters. WSGI applications need a2wsgi.",
        choices=("auto", "asgi3", "asgi2", "wsgi"),
    ),
    Option(
        "env_file",
        "path",
        None,
        _APP,
        "Set the variables in this file before the application is imported; needs python-dotenv.",
        optional=True,
        metavar="FILE",
    ),
    Option(
        "reset_contextvars",
        "switch",
        False,
        _APP,
        "Run each request in an empty context, not in a copy of the server's.",
    ),
    Option(
        "lifespan",
        "choice",
        "auto",
        _APP,
        "Run the application's start-up and shutdown code; auto does if it has any.",
        choices=("auto", "on", "off"),
    ),
    Option("root_path", "root_path", "", _APP, "The path under which the application is mounted.", metavar="PATH"),
    Option(
        "host",
        "text",
        "127.0.0.1",
        _SOCKETS,
        "Listen on this address or host name; :: listens on IPv6 and IPv4.",
        optional=True,
        metavar="HOST",
    ),
    Option("port", "int", 8000, _SOCKETS, "Listen on this port; 0 takes a free one.", minimum=0, maximum=65535),
    Option(
        "uds",
        "path",
        None,
        _SOCKETS,
        "Listen on this UNIX domain socket, in place of host and port.",
        optional=True,
        metavar="PATH",
    ),
    Option(
        "fd",
        "int",
        None,
        _SOCKETS,
        "Listen on this inherited socket, TCP or UNIX, in place of host, port and uds.",
        optional=True,
        minimum=0,
    ),
    Option(
        "bind",
        "addresses",
        [],
        _SOCKETS,
        "Listen on this address, in place of the ones above: host:port, [v6]:port, :port, port, unix:path or"
        " fd://number; can be given several times.",
        metavar="ADDRESS",
    ),
    Option(
        "uds_permissions",
        "mode",
        None,
        _SOCKETS,
        "The mode of a UNIX domain socket's file, in octal.",
        optional=True,
        metavar="MODE",
        default_text="666, or that of the file it replaces",
    ),
    Option("backlog", "int", 2048, _SOCKETS, "Connections that may wait to be accepted.", minimum=1),
    Option("reuse_port", "switch", False, _SOCKETS, "Let other processes listen on the same TCP ports (SO_REUSEPORT)."),
    Option(
        "ssl_keyfile",
        "path",
        None,
        _TLS,
        "The private key, in PEM form, if it is not in --ssl-certfile.",
        optional=True,
        metavar="FILE",
    ),
    Option(
        "ssl_certfile",
        "path",
        None,
        _TLS,
        "Serve TLS with this certificate and, behind it, those of the authorities between; in PEM form.",
        optional=True,
        metavar="FILE",
    ),
    Option("ssl_keyfile_password", "text", None, _TLS, "The password of the private key.", optional=True, secret=True),
    Option(
        "ssl_version",
        "ssl_version",
        17,
        _TLS,
        "A protocol number of Python's ssl module: 17 (also 2) for what both sides can, 5 for TLS 1.2 only.",
        metavar="INT",
    ),
    Option(
        "ssl_minimum_version",
        "choice",
        "tls1.2",
        _TLS,
        "The oldest version of TLS that is served.",
        choices=("tls1.2", "tls1.3"),
    ),
    Option(
        "ssl_cert_reqs",
        "cert_reqs",
        0,
        _TLS,
        "Ask clients for a certificate: 0 or none, 1 or optional, 2 or required.",
        metavar="INT",
    ),
    Option(
        "ssl_ca_certs",
        "path",
        None,
        _TLS,
        "The authorities that clients' certificates have to come from, in PEM form.",
        optional=True,
        metavar="FILE",
    ),
    Option(
        "ssl_ciphers",
        "text",
        None,
        _TLS,
        "The ciphers of TLS 1.2, as OpenSSL writes them.",
        optional=True,
        default_text="those of Python",
    ),
    Option(
        "loop",
        "loop",
        "auto",
        _ENGINE,
        "The event loop; auto is uvloop where there is one, none is Python's default. Or a function that makes the"
        " loop, as module:callable.",
        choices=("auto", "asyncio", "uvloop", "zuvloop", "iocp", "none"),
    ),
    Option(
        "http",
        "protocol",
        "auto",
        _ENGINE,
        "The HTTP stack: llhttp is compiled, h11 is pure Python; auto is llhttp where it is built. httptools means"
        " llhttp, zttp means auto.",
        choices=("auto", "llhttp", "httptools", "h11", "zttp"),
    ),
    Option(
        "http2",
        "switch",
        False,
        _ENGINE,
        "Serve HTTP/2 as well, to clients that ask for it in TLS or begin with it without TLS.",
    ),
    Option(
        "ws",
        "protocol",
        "auto",
        _WEBSOCKETS,
        "Serve WebSockets, but with none; uvicorn's other names mean auto.",
        choices=("auto", "none", "websockets", "websockets-sansio", "wsproto"),
    ),
    Option(
        "ws_max_size",
        "int",
        16 * 1024 * 1024,
        _WEBSOCKETS,
        "Bytes in a message from a client; more closes with 1009.",
        optional=True,
        minimum=0,
    ),
    Option(
        "ws_max_queue",
        "int",
        32,
        _WEBSOCKETS,
        "Messages that wait for the application before reading stops.",
        minimum=1,
    ),
    Option(
        "ws_ping_interval",
        "seconds",
        20.0,
        _WEBSOCKETS,
        "Seconds between pings; none sends none.",
        optional=True,
        minimum=0.25,
    ),
    Option(
        "ws_ping_timeout",
        "seconds",
        20.0,
        _WEBSOCKETS,
        "Seconds in which a ping has to be answered; none waits for ever.",
        optional=True,
        minimum=0,
    ),
    Option("ws_per_message_deflate", "boolean", True, _WEBSOCKETS, "Compress messages where the client offers it."),
    Option(
        "log_config",
        "log_config",
        LOGGING_CONFIG,
        _LOGS,
        "Set up logging from this file: .json, .yaml, .toml, or else as logging.config.fileConfig reads it.",
        optional=True,
        metavar="FILE",
        default_text="standard error, requests on standard output",
    ),
    Option(
        "log_level",
        "level",
        None,
        _LOGS,
        "Log what is at least this important.",
        choices=tuple(LOG_LEVELS),
        optional=True,
        default_text="info",
    ),
    Option(
        "log_format",
        "choice",
        "text",
        _LOGS,
        "Write lines of text, or one JSON object per line.",
        choices=("text", "json"),
    ),
    Option("access_log", "flag", True, _LOGS, "Log each request on standard output."),
    Option(
        "access_log_format",
        "line_format",
        None,
        _LOGS,
        "What is logged of a request, in gunicorn's atoms, as in '%(h)s \"%(r)s\" %(s)s %(B)s %(L)s'.",
        optional=True,
        metavar="FORMAT",
    ),
    Option(
        "use_colors",
        "flag",
        None,
        _LOGS,
        "Colours in the logs.",
        optional=True,
        default_text="on when written to a terminal",
    ),
    Option(
        "proxy_headers",
        "flag",
        True,
        _PROXIES,
        "Take client, scheme, host and prefix from the headers of trusted proxies.",
    ),
    Option(
        "forwarded_allow_ips",
        "peers",
        None,
        _PROXIES,
        "The trusted proxies, with commas: IP addresses, networks, unix for UNIX sockets, * for all.",
        metavar="LIST",
        default_text=f"$FORWARDED_ALLOW_IPS or {DEFAULT_PEERS}",
    ),
    Option(
        "forwarded_headers",
        "choices",
        FORWARDING_HEADERS[:2],
        _PROXIES,
        "The headers to believe, with commas: those that the proxy sets itself, of x-forwarded-{for,proto,host,port,"
        "prefix} and forwarded. Where there is any other, forwarded does not count.",
        choices=FORWARDING_HEADERS,
        metavar="LIST",
        default_text="x-forwarded-for,x-forwarded-proto",
    ),
    Option(
        "proxy_protocol",
        "switch",
        False,
        _PROXIES,
        "Trusted proxies begin each connection with a PROXY protocol header, version 1 or 2.",
    ),
    Option(
        "workers",
        "int",
        None,
        _PROCESSES,
        "Serve in this many processes, below one that watches them. With none, and nothing else that needs workers,"
        " there is one process in all.",
        optional=True,
        minimum=1,
        default_text="$WEB_CONCURRENCY, or none",
    ),
    Option(
        "worker_sockets",
        "choice",
        "shared",
        _PROCESSES,
        "Accept from one socket that all workers share, or give each its own: cheaper for very many short connections,"
        " but then they wait for a worker that is busy (TCP on Linux).",
        choices=("shared", "own"),
    ),
    Option(
        "timeout_worker_boot",
        "seconds",
        300,
        _PROCESSES,
        "Seconds that a worker may take until it serves; none waits for ever.",
        optional=True,
        minimum=0,
    ),
    Option(
        "timeout_worker_healthcheck",
        "seconds",
        30,
        _PROCESSES,
        "Seconds that a worker's event loop may be blocked before it is replaced; none lets it be.",
        optional=True,
        minimum=1,
    ),
    Option(
        "limit_worker_age",
        "seconds",
        None,
        _PROCESSES,
        "Replace a worker that has served for this many seconds.",
        optional=True,
        minimum=1,
    ),
    Option(
        "limit_worker_memory",
        "int",
        None,
        _PROCESSES,
        "Replace a worker that takes more than this many MiB of memory.",
        optional=True,
        minimum=1,
    ),
    Option("reload", "switch", False, _RELOAD, "Start the worker again when a file changes."),
    Option(
        "reload_dirs",
        "texts",
        [],
        _RELOAD,
        "Watch this directory; can be given several times.",
        cli="--reload-dir",
        metavar="PATH",
        default_text="the current directory, and --app-dir",
    ),
    Option(
        "reload_includes",
        "texts",
        [],
        _RELOAD,
        "Watch what fits this pattern too, or is in this directory; can be given several times.",
        cli="--reload-include",
        metavar="PATTERN",
        default_text="*.py",
    ),
    Option(
        "reload_excludes",
        "texts",
        [],
        _RELOAD,
        "Do not watch what fits this pattern; can be given several times.",
        cli="--reload-exclude",
        metavar="PATTERN",
        default_text=".*, .py[cod], .sw.*, ~*",
    ),
    Option(
        "reload_delay",
        "seconds",
        0.25,
        _RELOAD,
        "Seconds without another change to wait for, and between two looks where the system does not tell of changes.",
        minimum=0,
    ),
    Option(
        "metrics_bind",
        "address",
        None,
        _METRICS,
        "Serve /metrics, /livez, /readyz and /status on this address, written as for --bind; /metrics needs"
        " prometheus-client.",
        optional=True,
        metavar="ADDRESS",
    ),
    Option("server_header", "flag", True, _RESPONSES, "Send a Server header."),
    Option("date_header", "flag", True, _RESPONSES, "Send a Date header."),
    Option(
        "headers",
        "headers",
        [],
        _RESPONSES,
        "Send this header with every response; can be given several times.",
        cli="--header",
        metavar="NAME:VALUE",
    ),
    Option(
        "limit_concurrency",
        "int",
        None,
        _LIMITS,
        "Requests answered at a time; what comes above gets 503.",
        optional=True,
        minimum=1,
    ),
    Option(
        "limit_connections",
        "int",
        None,
        _LIMITS,
        "Connections open at a time; more wait to be accepted.",
        optional=True,
        minimum=1,
    ),
    Option("limit_max_requests", "int", None, _LIMITS, "Stop after this many requests.", optional=True, minimum=1),
    Option(
        "limit_max_requests_jitter",
        "int",
        0,
        _LIMITS,
        "Add a random number of requests, up to this, to --limit-max-requests.",
        minimum=0,
    ),
    Option("limit_request_line", "int", 16384, _LIMITS, "Bytes in a request line; more gets 414.", minimum=64),
    Option("limit_header_size", "int", 65536, _LIMITS, "Bytes in the header section; more gets 431.", minimum=256),
    Option("limit_header_fields", "int", 128, _LIMITS, "Fields in the header section; more gets 431.", minimum=1),
    Option(
        "limit_request_body", "int", None, _LIMITS, "Bytes in a request body; more gets 413.", optional=True, minimum=0
    ),
    Option(
        "limit_rate_per_second",
        "int",
        None,
        _LIMITS,
        "Bytes of responses per second on each connection; more has to wait.",
        optional=True,
        minimum=1024,
    ),
    Option(
        "h11_max_incomplete_event_size",
        "int",
        None,
        _LIMITS,
        "Another name of --limit-header-size.",
        optional=True,
        minimum=256,
        alias_of="limit_header_size",
    ),
    _timeout("timeout_keep_alive", 5, "A kept-alive connection may be idle."),
    _timeout("timeout_ssl_handshake", 30, "A TLS handshake must be done."),
    _timeout("timeout_headers", 30, "The request headers must be complete."),
    _timeout("timeout_body", 60, "A request body may pause."),
    _timeout("timeout_write", 60, "A client may take nothing of a response."),
    _timeout("timeout_request", None, "A request may take as a whole."),
    _timeout("timeout_graceful_shutdown", 30, "Requests may take to finish at shutdown; then they are cancelled."),
    _timeout("timeout_lifespan_startup", None, "The application's start-up code may take."),
    _timeout("timeout_lifespan_shutdown", 30, "The application's shutdown code may take."),
)

_CONFIGURATION = "Configuration"

#: What only the command line takes, beside the options.
COMMAND_OPTIONS: tuple[Option, ...] = (
    Option(
        "config",
        "path",
        None,
        _CONFIGURATION,
        "Read options from this TOML file.",
        metavar="FILE",
        default_text="[tool.asgiserve] in ./pyproject.toml",
    ),
    Option(
        "print_config",
        "switch",
        False,
        _CONFIGURATION,
        "Show every option, its value and where that comes from; then exit.",
    ),
    Option(
        "check_config",
        "switch",
        False,
        _CONFIGURATION,
        "Load everything, the application too; exit with 0, 2 (configuration) or 3 (application).",
    ),
)

BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}


def nearest(name: str, names: Optional[list[str]] = None) -> Optional[str]:
    """The known option name that looks most like `name`, or None."""
    import difflib  # for mistakes only

    found = difflib.get_close_matches(name, list(BY_NAME) if names is None else names, n=1, cutoff=0.6)
    return found[0] if found else None

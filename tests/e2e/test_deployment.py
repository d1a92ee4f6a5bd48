"""The files of examples/ for containers and load balancers: checked by their linters, and run but for ports and paths.

In particular the recipe for an update: two replicas behind HAProxy, restarted one after the other under load.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

import asgiserve
from asgiserve.drain import CANCEL_GRACE
from asgiserve.options import BY_NAME

from .launcher import APPS, LINUX, Process, free_port, missing, wait_for
from .load import Load, OneTarget

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"

pytestmark = [
    pytest.mark.usefixtures("once"),
    pytest.mark.skipif(not LINUX, reason="these programs are tried on Linux"),
]


@pytest.fixture
def once():
    """The stack makes no difference here: these tests leave it to the program to choose one."""
    if os.environ.get("ASGISERVE_E2E_SERVER"):
        pytest.skip("promised by asgiserve only")


@pytest.fixture
def place(workdirs) -> Path:
    """A directory as the examples take it to be: with the application, and the program in venv/bin."""
    directory = workdirs()
    shutil.copy(APPS / "worker_app.py", directory / "example.py")
    program = directory / "venv/bin/asgiserve"
    program.parent.mkdir(parents=True)
    paths = os.pathsep.join((str(Path(asgiserve.__file__).resolve().parent.parent), str(APPS)))
    program.write_text(
        f'#!/bin/sh\nexport PYTHONPATH={paths} PYTHONUNBUFFERED=1\nexec {sys.executable} -m asgiserve "$@"\n'
    )
    program.chmod(0o755)
    return directory


@pytest.fixture
def run(place):
    """run(argv, address): that program, ended in the end if need be."""
    started: list[Process] = []

    def start(argv, address, workdir=None, env=None) -> Process:
        process = Process(argv, address, workdir or place, env)
        started.append(process)
        return process

    yield start
    for process in reversed(started):
        if process.popen.poll() is None:
            process.signal(signal.SIGTERM)
            process.wait(30)


def tool(name: str) -> str:
    """A program that pip installs beside the interpreter."""
    path = shutil.which(name, path=os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", ""))))
    return path or missing(f"{name} is not installed")


def get(port: int, path: str) -> int:
    """The status of a GET, 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except ConnectionError:
        return 0
    finally:
        connection.close()


# -- containers


def instructions() -> list[tuple[str, str]]:
    text = (EXAMPLES / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, rest in lines]


def test_the_dockerfile_is_sound():
    done = subprocess.run([tool("hadolint"), EXAMPLES / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_container(place, run, program):
    """Its command as process 1 of a namespace, which no signal ends that is not handled, and its health check."""
    found = dict(instructions())
    assert found["USER"] != "0:0"
    assert found["EXPOSE"] == "8000 8001"
    command, check = json.loads(found["CMD"]), json.loads(found["HEALTHCHECK"].partition("CMD ")[2])
    port, probes = free_port(), free_port()
    command[0] = str(place / "venv/bin/asgiserve")
    command = [part.replace(":8000", f"127.0.0.1:{port}").replace(":8001", f"127.0.0.1:{probes}") for part in command]
    check = [part.replace("8001", str(probes)) for part in check]
    check[0] = sys.executable
    argv = [program("unshare"), *(() if os.geteuid() == 0 else ("--map-root-user",)), "--pid", "--fork"]
    if subprocess.run([*argv, "true"], capture_output=True).returncode:
        missing("process namespaces are not to be had here")
    assert subprocess.run(check, capture_output=True).returncode == 1
    server = run([*argv, *command], ("127.0.0.1", port))
    server.wait_ready()
    assert "Started server process [1]" in server.stderr()
    assert subprocess.run(check, capture_output=True, text=True).stderr == ""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGTERM)
    assert server.wait() == 0
    assert "Finished server process [1]" in server.stderr()


@pytest.fixture
def manifests(library) -> dict[str, dict]:
    """The objects of kubernetes.yaml by kind."""
    yaml = library("yaml")
    return {each["kind"]: each for each in yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text())}


@pytest.mark.parametrize("version", ["1.26", "1.33"])
def test_the_manifests_are_of_the_schema(manifests, library, version):
    schema = library("kubernetes_validate")
    assert sorted(manifests) == ["Deployment", "PodDisruptionBudget", "Service"]
    for each in manifests.values():
        schema.validate(each, version, strict=True)


def test_the_pod(manifests, place, run):
    """The names in the manifests mean one another, the bounds fit, and the command answers the probes."""
    deployment = manifests["Deployment"]["spec"]
    labels, pod = deployment["template"]["metadata"]["labels"], deployment["template"]["spec"]
    assert deployment["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert manifests["Service"]["spec"]["ports"][0]["targetPort"] in ports

    options = dict(part[2:].split("=", 1) for part in container["args"] if part.startswith("--"))
    bounds = [BY_NAME[name.replace("-", "_")].clean(options[name]) for name in options if name.startswith("timeout")]
    assert all(bounds)
    (pause,) = (int(text) for text in container["lifecycle"]["preStop"]["exec"]["command"][1:])
    stop = int(options["timeout-graceful-shutdown"]) + CANCEL_GRACE + int(options["timeout-lifespan-shutdown"])
    assert pod["terminationGracePeriodSeconds"] > pause + stop + 2 * CANCEL_GRACE

    free = {name: free_port() for name in ports}
    args = container["args"]
    for name, number in ports.items():
        args = [re.sub(f"=:{number}$", f"=127.0.0.1:{free[name]}", part) for part in args]
    assert container["command"] == ["asgiserve"]
    server = run([place / "venv/bin/asgiserve", *args], ("127.0.0.1", free["http"]))
    server.wait_ready()
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        ask = container[probe]["httpGet"]
        wait_for(lambda ask=ask: get(free[ask["port"]], ask["path"]) == 200, what=probe)


# -- replicas behind a load balancer

SUPERVISOR = """
[supervisord]
[unix_http_server]
file={place}/supervisor
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{place}/supervisor
"""
PROGRAM = """
[program:{name}]
command={command}
directory={place}
startsecs=0
stdout_logfile={place}/{name}.out
stderr_logfile={place}/{name}.err
stopwaitsecs=75
"""


class Replicas:
    """Two replicas as asgiserve@.service has them, under supervisor; ``ports`` has their (application, probes)."""

    def __init__(self, place: Path):
        self.place = place
        self.ports = {name: (free_port(), free_port()) for name in "12"}
        (command,) = re.findall(r"^ExecStart=(.*)$", (EXAMPLES / "asgiserve@.service").read_text(), re.M)
        sections = [SUPERVISOR.format(place=place)]
        for name, (port, probes) in self.ports.items():
            mine = self.replace(name, command.replace("%i", name)).replace("/srv/example", str(place))
            assert str(port) in mine and str(probes) in mine
            sections.append(PROGRAM.format(name=name, command=mine, place=place))
        self.file = place / "supervisord.conf"
        self.file.write_text("".join(sections))

    def replace(self, name: str, text: str) -> str:
        port, probes = self.ports[name]
        return text.replace(f"80{name}0", str(port)).replace(f"80{name}1", str(probes))

    def control(self, *words: str) -> list[str]:
        """The words of a command for supervisor."""
        return [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self.file), *words]

    def pids(self) -> list[int]:
        """All processes that there have been."""
        text = "".join((self.place / f"{name}.err").read_text() for name in self.ports)
        return [int(pid) for pid in re.findall(r"Started server process \[(\d+)\]", text)]

    def are_ready(self) -> bool:
        return all(get(probes, "/readyz") == 200 for _, probes in self.ports.values())


@pytest.fixture
def replicas(place, run, library) -> Replicas:
    library("supervisor")
    found = Replicas(place)
    run([sys.executable, "-m", "supervisor.supervisord", "-n", "-c", found.file], None, place)
    wait_for(found.are_ready, 60, "two replicas")
    return found


def proxy(replicas: Replicas, name: str, **changes: str) -> Path:
    """A copy of that file for these replicas."""
    text = (EXAMPLES / name).read_text()
    for number in replicas.ports:
        text = replicas.replace(number, text)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    copy = replicas.place / name
    copy.write_text(text)
    return copy


@pytest.fixture
def haproxy(replicas, run, program, workdirs) -> Process:
    port = free_port()
    changes = {"bind :80\n": f"bind 127.0.0.1:{port}\n", "/run/haproxy": str(replicas.place), "inter 1s": "inter 100ms"}
    file = proxy(replicas, "haproxy.cfg", **changes)
    process = run([program("haproxy"), "-db", "-f", file], ("127.0.0.1", port), workdirs())
    process.wait_ready()
    wait_for(lambda: get(port, "/pid") == 200, what="a replica that is checked")
    return process


def update(replicas: Replicas, *command: str, options=()) -> subprocess.CompletedProcess:
    argv = [sys.executable, EXAMPLES / "rolling_update.py", *options, replicas.place / "admin.sock", "app", "--"]
    return subprocess.run([*argv, *command], capture_output=True, text=True, timeout=120)


def test_an_update_without_a_failed_request(replicas, haproxy):
    """Both replicas are restarted with the recipe, under load; new processes serve in the end, and only they."""
    before = set(replicas.pids())
    with Load(haproxy.address, OneTarget(), clients=16) as load:
        load.wait(500)
        done = update(replicas, *replicas.control("restart", "{}"))
        assert done.returncode == 0, done
        assert re.findall(r"^.: restarted$", done.stdout, re.M) == ["1: restarted", "2: restarted"]
        load.answers.clear()
        load.wait(500)
        served = {int(pid) for pid in load.answers}
    assert not load.failures
    assert len(before) == 2
    assert served == set(replicas.pids()) - before
    assert len(served) == 2


def test_an_update_that_fails_stops_there(replicas, haproxy):
    """The replica that does not come back gets no requests, the other one goes on."""
    with Load(haproxy.address, OneTarget(), clients=16) as load:
        load.wait(100)
        done = update(replicas, "false")
        assert (done.returncode, done.stderr) == (
            1,
            "1: the command failed with status 1; the server stays without requests\n",
        )
        done = update(replicas, *replicas.control("stop", "{}"), options=("--boot", "0.5"))
        assert (done.returncode, done.stderr) == (1, "1: it did not become ready; it stays without requests\n")
        load.answers.clear()
        load.wait(100)
        assert len(load.answers) == 1
    assert not load.failures
    done = subprocess.run(
        [sys.executable, EXAMPLES / "rolling_update.py", replicas.place / "admin.sock", "other", "true"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (1, "no backend other, or no server in it\n")


@contextmanager
def stopped(replicas: Replicas, name: str):
    assert subprocess.run(replicas.control("stop", name), capture_output=True).returncode == 0
    yield
    assert subprocess.run(replicas.control("start", name), capture_output=True).returncode == 0
    wait_for(replicas.are_ready, 60, "two replicas")


def test_nginx_leaves_out_a_replica_that_stops(replicas, run, program, workdirs):
    """Without a word to nginx: requests that may be made twice do not fail."""
    port, directory = free_port(), workdirs()
    temporary = "".join(f"{kind}_temp_path {directory}/{kind}; " for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    inside = f"http {{\n    access_log off; client_body_temp_path {directory}/body; {temporary}\n"
    file = proxy(replicas, "nginx-replicas.conf", **{"listen 80;": f"listen 127.0.0.1:{port};", "http {\n": inside})
    options = f"daemon off; master_process off; pid {directory}/pid;"
    argv = [program("nginx"), "-p", directory, "-c", file, "-e", "stderr", "-g", options]
    nginx = run(argv, ("127.0.0.1", port), directory)
    nginx.wait_ready()
    with Load(nginx.address, OneTarget(posts=False), clients=16) as load:
        for name in replicas.ports:
            load.until(lambda: len(load.answers) == 2)
            with stopped(replicas, name):
                load.wait(100)
            load.answers.clear()  # it takes nginx a second to try that one again
        load.until(lambda: len(load.answers) == 2)
    assert not load.failures


def test_the_unit_of_the_replicas_is_sound(place, program):
    for name in ("1", "2"):
        unit = (EXAMPLES / "asgiserve@.service").read_text().replace("/srv/example", str(place))
        (place / f"asgiserve@{name}.service").write_text(unit)
    argv = [program("systemd-analyze"), "verify", "--man=no", *sorted(place.glob("asgiserve@*.service"))]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    if "Failed to" in done.stdout and "asgiserve" not in done.stdout:
        missing(f"systemd-analyze does not work here: {done.stdout}")
    assert (done.returncode, [line for line in done.stdout.splitlines() if "asgiserve" in line]) == (0, []), done.stdout


def test_what_the_comments_show_can_be_run():
    """The commands at the top of the files name files that are there."""
    for path in filter(Path.is_file, EXAMPLES.iterdir()):
        head = "\n".join(line for line in path.read_text().splitlines()[:20] if line.startswith(("#", ";")))
        for name in re.findall(r"[\w@.-]+\.(?:cfg|conf|ini|py|service|socket|yaml)\b", head):
            assert (EXAMPLES / name).exists(), (path.name, name)
        for line in re.findall(r"^[#;] {5}(.*)$", head, re.M):
            assert shlex.split(line), line

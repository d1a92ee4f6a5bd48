"""Which files are watched while an application is developed, and what is told of their changes."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import time
from types import ModuleType

import pytest

from asgiserve import cli
from asgiserve.config import Config
from asgiserve.errors import ConfigError
from asgiserve.processes import reload
from asgiserve.processes.patterns import Selection
from asgiserve.processes.reload import Tree, Watcher, describe

from .serving import TIMEOUT, Process

FILES = (
    "main.py",
    "notes.txt",
    ".env",
    ".hidden.py",
    "~backup.py",
    "app/api.py",
    "app/page.html",
    "app/deep/down/model.py",
    "app/deep/down/page.html",
    "app/__pycache__/api.cpython-313.py",
    ".venv/pyvenv.cfg",
    ".venv/lib/library.py",
    "env/pyvenv.cfg",
    "env/lib/library.py",
    ".git/hook.py",
    ".cache/made.py",
    ".cache/made.html",
    "node_modules/tool/setup.py",
    "tests/test_app.py",
    "tests/test_data/data.py",
    "application/other.py",
)
DEFAULT = {"main.py", "app/api.py", "app/deep/down/model.py", "application/other.py"}
TESTS = {"tests/test_app.py", "tests/test_data/data.py"}
WATCHED = DEFAULT | TESTS


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory with FILES, which is the current one."""
    directory = (tmp_path / "project").resolve()
    for name in FILES:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("one")
    monkeypatch.chdir(directory)
    return directory


def options(**given):
    return Config("main:app", reload=True, **{f"reload_{name}": value for name, value in given.items()})


def watched(project, **given):
    """What is watched, below the project or else as a whole path."""
    found = Tree(Selection(options(**given))).snapshot()
    return {os.path.relpath(path, project).replace(os.sep, "/") for path in found}


# -- which files


def test_by_default_python_files(project):
    assert watched(project) == WATCHED


@pytest.mark.parametrize(
    ("includes", "more"),
    [
        (["*.html"], {"app/page.html", "app/deep/down/page.html"}),
        (["page.html"], {"app/page.html", "app/deep/down/page.html"}),
        (["app/*.html"], {"app/page.html"}),
        (["./app/page.html"], {"app/page.html"}),
        (["app/**/*.html"], {"app/page.html", "app/deep/down/page.html"}),
        (["deep/*/*.html"], {"app/deep/down/page.html"}),
        (["[mn]otes.???"], {"notes.txt"}),
        ([".env"], {".env"}),
        ([".e*"], {".env"}),
        ([".cache"], {".cache/made.py"}),
        ([".cache/"], {".cache/made.py"}),
        ([".cache", "*.html"], {".cache/made.py", ".cache/made.html", "app/page.html", "app/deep/down/page.html"}),
        ([".cache/*.html"], {".cache/made.py", ".cache/made.html"}),
        (["env"], {"env/lib/library.py"}),
        (["nothing"], set()),
        (["templates/*.html"], set()),
        (["*.html", "*.txt"], {"app/page.html", "app/deep/down/page.html", "notes.txt"}),
        (["*"], {"app/page.html", "app/deep/down/page.html", "notes.txt"}),
        ([".*"], {".env", ".hidden.py", ".cache/made.py"}),
        (["~*"], {"~backup.py"}),
        ([".git/hook.py"], {".git/hook.py"}),
        (["node_modules/tool"], {"node_modules/tool/setup.py"}),
    ],
)
def test_includes(project, includes, more):
    assert watched(project, includes=includes) == WATCHED | more


@pytest.mark.parametrize(
    ("excludes", "less"),
    [
        (["api.py"], {"app/api.py"}),
        (["test_*"], TESTS),
        (["tests"], TESTS),
        (["tests/"], TESTS),
        (["./tests"], TESTS),
        (["tests/*"], TESTS),
        (["down"], {"app/deep/down/model.py"}),
        (["deep/down"], {"app/deep/down/model.py"}),
        (["app/deep"], {"app/deep/down/model.py"}),
        (["app/**/model.py"], {"app/deep/down/model.py"}),
        (["app"], {"app/api.py", "app/deep/down/model.py"}),
        (["app*"], {"app/api.py", "app/deep/down/model.py", "application/other.py"}),
        (["*.py"], WATCHED),
        (["nothing"], set()),
    ],
)
def test_excludes(project, excludes, less):
    assert watched(project, excludes=excludes) == WATCHED - less


def test_absolute_patterns(project, tmp_path):
    assert watched(project, excludes=[str(project / "tests")]) == WATCHED - TESTS
    assert watched(project, excludes=[f"{project}/app/*"]) == WATCHED - {"app/api.py", "app/deep/down/model.py"}
    assert watched(project, includes=[f"{project}/app/*.html"]) == WATCHED | {"app/page.html"}
    for name in ("shared/lib.py", "shared/lib.html", "settings.toml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("one")
    assert watched(project, includes=[str(tmp_path / "shared")]) == WATCHED | {"../shared/lib.py"}
    assert watched(project, includes=["../shared"]) == WATCHED | {"../shared/lib.py"}
    assert watched(project, includes=["../shared/*.html"]) == WATCHED | {"../shared/lib.py", "../shared/lib.html"}
    assert watched(project, includes=[str(tmp_path / "settings.toml")]) == WATCHED | {"../settings.toml"}


def test_who_names_a_file_means_it(project):
    assert watched(project, includes=[".hidden.py"], excludes=["*.py"]) == {".hidden.py"}
    assert watched(project, includes=["notes.txt"], excludes=["notes.*"]) == WATCHED | {"notes.txt"}
    assert watched(project, includes=["*.html"], excludes=["*.html"]) == WATCHED
    assert watched(project, includes=["*"], excludes=["*.py", "*.txt"]) == {"app/page.html", "app/deep/down/page.html"}


def test_directories(project, tmp_path):
    assert watched(project, dirs=["app"]) == {"app/api.py", "app/deep/down/model.py"}
    assert watched(project, dirs=[project / "app", "application"]) == DEFAULT - {"main.py"}
    assert watched(project, dirs=["app", "."]) == WATCHED
    assert watched(project, dirs=[".venv/lib"]) == {".venv/lib/library.py"}
    assert watched(project, dirs=["env"]) == {"env/lib/library.py"}
    assert watched(project, dirs=["app"], includes=["application"]) == DEFAULT - {"main.py"}
    assert watched(project, dirs=["app", "tests"], excludes=["tests"]) == {"app/api.py", "app/deep/down/model.py"}


def test_the_application_directory_is_watched_too(project, monkeypatch):
    monkeypatch.chdir(project / "tests")
    config = Config("main:app", reload=True, app_dir="../app")
    assert Selection(config).roots == [str(project / "tests"), str(project / "app")]
    config = Config("main:app", reload=True, app_dir="../app", reload_dirs=["."])
    assert Selection(config).roots == [str(project / "tests")]
    config = Config("main:app", reload=True, app_dir="missing")
    assert Selection(config).roots == [str(project / "tests")]


def test_names_with_wildcards_in_them(tmp_path, monkeypatch):
    here = tmp_path.resolve() / "[here]"
    (here / "[id]").mkdir(parents=True)
    for path in (here / "main.py", here / "[id]" / "page.html", here.parent / "lib.html"):
        path.write_text("one")
    monkeypatch.chdir(here)
    assert watched(here, includes=["[id]/page.html"]) == {"main.py", "[id]/page.html"}
    assert watched(here, includes=[str(here / "[id]" / "*.html")]) == {"main.py", "[id]/page.html"}
    assert watched(here, includes=["../lib.html"]) == {"main.py", "../lib.html"}
    assert watched(here, includes=["*.html"], excludes=["[id]"]) == {"main.py"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dirs": ["app", "missing"]}, "reload_dirs: 'missing' is not a directory"),
        ({"dirs": ["main.py"]}, "reload_dirs: 'main.py' is not a directory"),
        ({"dirs": [""]}, "reload_dirs: '' is not a directory"),
        ({"includes": [" "]}, "reload_includes: a pattern is empty"),
        ({"excludes": [""]}, "reload_excludes: a pattern is empty"),
        ({"excludes": ["."]}, "reload_excludes: no directory is left to watch"),
        ({"dirs": ["app/deep"], "excludes": ["app"]}, "reload_excludes: no directory is left to watch"),
    ],
)
def test_what_cannot_work_is_refused(project, given, message):
    with pytest.raises(ConfigError) as caught:
        Watcher(options(**given))
    assert str(caught.value) == message


@pytest.mark.skipif(sys.platform == "win32", reason="a current directory cannot be removed there")
def test_no_current_directory(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match=r"\Areload: the current directory cannot be watched: [^\n]+\Z"):
        Watcher(options())


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_links(project, tmp_path):
    elsewhere = tmp_path.resolve() / "elsewhere"
    (elsewhere / "below").mkdir(parents=True)
    (elsewhere / "below" / "linked.py").write_text("one")
    (elsewhere / "file.py").write_text("one")
    links = {
        "app/linked": elsewhere,
        "app/again": elsewhere,
        "elsewhere": elsewhere / "below",
        "app/self": project / "app",
        "around": tmp_path,
        "root": "/",
        "file.py": elsewhere / "file.py",
        "dangling.py": "nowhere",
        "loop": "loop",
    }
    for name, target in links.items():
        (project / name).symlink_to(target)
    (elsewhere / "below" / "back").symlink_to(elsewhere)
    found = [name.rpartition("/")[2] for name in watched(project) - WATCHED]
    assert sorted(found) == sorted(["file.py", "file.py", "linked.py"])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_left_out(project):
    (project / "app").chmod(0)
    try:
        assert watched(project) == WATCHED - {"app/api.py", "app/deep/down/model.py"}
    finally:
        (project / "app").chmod(0o755)


def test_what_vanishes_while_it_is_looked_at(project, monkeypatch):
    tree = Tree(Selection(options()))
    enters = tree._selection.enters

    def remove(path):
        if path == str(project / "app"):
            shutil.rmtree(path)
        return enters(path)

    monkeypatch.setattr(tree._selection, "enters", remove)
    assert set(tree.snapshot()) == {str(project / name) for name in WATCHED if not name.startswith("app/")}


def test_which_events_concern_it(project):
    tree = Tree(Selection(options(includes=[".git/hook.py"])))
    tree.snapshot()
    concerned = ["main.py", "new.py", "app", "app/api.py", "app/deep", ".git/hook.py"]
    ignored = ["notes.txt", "new.txt", ".git", ".git/index", ".venv/lib/new.py", "app/__pycache__/new.py", ".env"]
    (project / "new").mkdir()
    for name in [*concerned, "new"]:
        assert tree.concerns(str(project / name)), name
    for name in ignored:
        assert not tree.concerns(str(project / name)), name


# -- what is told


class Told:
    """The changes that a watcher told, as they come."""

    def __init__(self, project):
        self.bursts = []
        self._project = project
        self._news = threading.Condition()

    def __call__(self, changed):
        with self._news:
            self.bursts.append({os.path.relpath(path, self._project).replace(os.sep, "/") for path in changed})
            self._news.notify_all()

    @property
    def all(self):
        return set().union(*self.bursts)

    def wait(self, *names, timeout=TIMEOUT):
        """Waits until these files were told of, and forgets all; returns all that was told."""
        with self._news:
            done = self._news.wait_for(lambda: self.all.issuperset(names), timeout)
            assert done or timeout < TIMEOUT, f"not told in time: {set(names) - self.all}"
            found = self.all
            self.bursts.clear()
        return found


@pytest.fixture(params=["watchfiles", "polling"])
def engine(request, monkeypatch):
    """Each way to notice changes."""
    if request.param == "watchfiles":
        pytest.importorskip("watchfiles")
        monkeypatch.delenv("WATCHFILES_FORCE_POLLING", raising=False)
    else:
        monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    return request.param


@pytest.fixture
def watch(project):
    """watch(**options): a Told that hears of changes from now on, with the ``watcher``."""
    watchers = []

    def start(**given):
        told = Told(project)
        told.watcher = Watcher(options(**{"delay": 0.05, **given}))
        watchers.append(told.watcher)
        told.watcher.start(told)
        return told

    yield start
    for watcher in watchers:
        watcher.stop()
        assert not watcher._thread.is_alive()


def test_changed_new_and_deleted_files(project, engine, watch):
    told = watch()
    (project / "main.py").write_text("changed")
    told.wait("main.py")
    (project / "new.py").write_text("new")
    told.wait("new.py")
    (project / "new.py").unlink()
    told.wait("new.py")
    (project / "app" / "api.py").write_text("two")  # as many bytes as before
    told.wait("app/api.py")


def test_what_is_not_watched_is_not_told(project, engine, watch):
    told = watch(includes=["*.html"], excludes=["tests"])
    for name in FILES:
        if name != "main.py":
            (project / name).write_text("changed")
    (project / "main.py").write_text("changed")
    html = {"app/page.html", "app/deep/down/page.html"}
    assert told.wait(*DEFAULT, *html) == DEFAULT | html


def test_a_file_that_is_replaced_and_looks_the_same(project, engine, watch):
    told = watch()
    before = os.stat("main.py")
    (project / "main.new").write_text("two")
    os.utime("main.new", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace("main.new", "main.py")
    assert told.wait("main.py") == {"main.py"}


def test_directories_that_come_move_and_go(project, engine, watch):
    told = watch()
    package = project / "package" / "inner"
    package.mkdir(parents=True)
    (package / "module.py").write_text("new")
    told.wait("package/inner/module.py")
    (project / "package").rename(project / "renamed")
    told.wait("package/inner/module.py", "renamed/inner/module.py")
    (package.parent.parent / "renamed").rename(project.parent / "away")
    told.wait("renamed/inner/module.py")
    (project.parent / "away").rename(project / "back")
    told.wait("back/inner/module.py")
    shutil.rmtree(project / "back")
    told.wait("back/inner/module.py")


def test_a_watched_directory_that_vanishes_and_comes_back(project, engine, watch):
    told = watch(dirs=["app", "tests"])
    shutil.rmtree("app")
    told.wait("app/api.py")
    (project / "tests" / "test_app.py").write_text("changed")
    told.wait("tests/test_app.py")
    (project / "app").mkdir()
    for text in ("again", "and once more"):
        (project / "app" / "api.py").write_text(text)
        told.wait("app/api.py")


def test_a_burst_is_one_change(project, engine, watch):
    told = watch(delay=0.5)
    names = [f"made{number}.py" for number in range(200)]
    for name in names:
        (project / name).write_text("new")
    told.wait(names[-1])
    assert len(told.bursts) == 0  # all was in what wait() took


def test_what_a_burst_leaves_as_it_was_is_not_told(project, engine, watch):
    told = watch()
    (project / "passing.py").write_text("new")
    (project / "passing.py").unlink()
    (project / "main.py").write_text("changed")
    told.wait("main.py")
    assert not told.bursts


def test_changes_that_do_not_end_are_told_all_the_same(project, engine, watch, monkeypatch):
    monkeypatch.setattr(reload, "MOST_LOOKS", 3)
    told = watch(delay=0)
    end = time.monotonic() + TIMEOUT
    number = 0
    while not told.bursts and time.monotonic() < end:
        number += 1
        (project / "main.py").write_text(str(number))
    assert told.wait("main.py") == {"main.py"}


def test_stopping(project, engine, watch):
    told = watch()
    told.watcher.stop()
    assert not told.watcher._thread.is_alive()
    told.watcher.stop()
    (project / "main.py").write_text("changed")
    assert not told.bursts


def test_stopping_in_a_burst(project, engine, watch):
    told = watch(delay=1000)
    (project / "main.py").write_text("changed")
    told.watcher.stop()
    assert not told.bursts


def test_a_watcher_that_never_started_can_be_stopped(project):
    Watcher(options()).stop()


def messages(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "asgiserve.error"]


def test_the_log_says_what_is_watched_and_how(project, engine, watch, caplog):
    caplog.set_level(logging.INFO, "asgiserve.error")
    told = watch(dirs=["app", "tests"])
    (project / "app" / "api.py").write_text("changed")
    told.wait("app/api.py")
    how = {"watchfiles": "told by watchfiles", "polling": "looking every 0.05 seconds"}[engine]
    assert messages(caplog) == [f"Watching for changes in {project / 'app'}, {project / 'tests'}, {how}"]


def test_it_is_really_watchfiles_that_tells(project, watch, monkeypatch):
    pytest.importorskip("watchfiles")
    monkeypatch.setattr(reload, "BACKSTOP", 1000.0)
    told = watch()
    for number in range(1000):  # it is not known when the system begins to tell
        (project / "main.py").write_text(str(number))
        if told.wait("main.py", timeout=0.1):
            return
    pytest.fail("nothing was told")


def without(monkeypatch, watch, *, error=None):
    """Puts `watch` in the place of the library's function, or has its import fail."""

    library = ModuleType("watchfiles")
    if watch is not None:
        library.watch = watch
    elif error is not None:

        def fail(name):
            raise error

        library.__getattr__ = fail
    monkeypatch.delenv("WATCHFILES_FORCE_POLLING", raising=False)
    monkeypatch.setitem(sys.modules, "watchfiles", None if watch is None and error is None else library)


def told_all_the_same(project, watch, caplog):
    """The first of two changes that are noticed in whatever way, and then the log's warnings."""
    told = watch()
    for text in ("changed", "changed again"):
        (project / "main.py").write_text(text)
        told.wait("main.py")
    told.watcher.stop()
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_without_watchfiles(project, watch, monkeypatch, caplog):
    without(monkeypatch, None)
    assert told_all_the_same(project, watch, caplog) == []


def test_watchfiles_that_is_broken(project, watch, monkeypatch, caplog):
    without(monkeypatch, None, error=RuntimeError("broken\nbuild"))
    assert told_all_the_same(project, watch, caplog) == ["watchfiles cannot be used: broken build"]


def test_watchfiles_that_fails(project, watch, monkeypatch, caplog):
    def fail(*paths, **given):
        raise OSError("OS file watch limit reached.\nmore")

    without(monkeypatch, fail)
    said = "From now on looking for changes every 0.05 seconds: OS file watch limit reached. more"
    assert told_all_the_same(project, watch, caplog) == [said]


def test_a_file_system_that_tells_nothing(project, watch, monkeypatch, caplog):
    """As directories of the host in some containers: that is noticed, and the files are looked at instead."""

    def hear_nothing(*paths, stop_event, **given):
        while not stop_event.wait(0.01):
            yield set()

    without(monkeypatch, hear_nothing)
    monkeypatch.setattr(reload, "BACKSTOP", 0.02)
    told = watch()
    for text in ("one more", "and one more", "and the last"):
        (project / "main.py").write_text(text)
        told.wait("main.py")
    said = "From now on looking for changes every 0.05 seconds: the system does not tell of all changes"
    end = time.monotonic() + TIMEOUT
    while said not in messages(caplog) and time.monotonic() < end:
        (project / "main.py").write_text(str(end - time.monotonic()))
        told.wait("main.py")
    assert said in messages(caplog)


def test_a_fault_in_here_is_one_line(project, watch, caplog):
    def fail():
        raise RuntimeError("two\nlines")

    told = watch()
    told.watcher._tree.snapshot = fail
    (project / "main.py").write_text("changed")
    told.watcher._thread.join(TIMEOUT)
    said = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.exc_info for record in said] == [None]
    assert said[0].getMessage() == "Files are not watched any more: RuntimeError: two lines"


def test_describe(project):
    paths = {str(project / name) for name in ("main.py", "app/api.py", "application/other.py", "tests/test_app.py")}
    assert describe({str(project / "main.py")}) == "1 file changed: main.py"
    more = os.path.join("app", "api.py"), os.path.join("application", "other.py")
    assert describe(paths) == f"4 files changed: {more[0]}, {more[1]}, main.py and 1 more"
    outside = str(project.parent / "lib.py")
    assert describe({outside}) == f"1 file changed: {outside}"
    assert describe({str(project / "a\nb\udcff.py")}) == r"1 file changed: 'a\nb\udcff.py'"


def test_an_environment_that_forbids_polling(project, watch, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "asgiserve.error")

    def hear(*paths, stop_event, **given):
        while not stop_event.wait(0.01):
            yield {(1, str(project / "main.py"))}

    without(monkeypatch, hear)
    for word in ("false", "disabled", ""):
        monkeypatch.setenv("WATCHFILES_FORCE_POLLING", word)
        assert told_all_the_same(project, watch, caplog) == []
    assert all(message.endswith("told by watchfiles") for message in messages(caplog))


# -- the command


def test_the_command_refuses_a_missing_directory(project, capsys):
    for more in ([], ["--check-config"]):
        with pytest.raises(SystemExit) as caught:
            cli.command.main(["main:app", "--reload", "--reload-dir", "missing", *more])
        assert caught.value.code == 2
        assert capsys.readouterr() == ("", "asgiserve: error: 'missing' is not a directory (--reload-dir)\n")


@pytest.mark.parametrize("workers", [None, 2])
def test_reload_options_without_reload_are_one_warning(tmp_path, workers):
    (tmp_path / "main.py").write_text("async def app(scope, receive, send):\n    pass\n")
    more = ["--workers", workers] if workers else []
    arguments = ["main:app", "--port", "0", "--reload-dir", "src", "--reload-include", "*.html", *more]
    with Process(*arguments, cwd=tmp_path) as process:
        process.wait_ready()
        process.popen.terminate()
        assert process.wait() == 0
        said = "WARNING:  No effect without --reload: --reload-dir, --reload-include"
        assert [line for line in process.lines if line and "WARNING" in line] == [said]

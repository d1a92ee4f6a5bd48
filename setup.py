"""Builds the compiled stack, `asgiserve._speedups`. All other metadata is in pyproject.toml.

``ASGISERVE_EXTENSIONS`` chooses: ``auto`` (default) compiles and, when something it needs is missing or fails, warns
and makes a pure build; ``require`` turns that into an error; ``off`` makes a pure build.

One extension is built for every ``asgiserve/_speedups/NAME.pyx``, and one for every ``asgiserve/_core/NAME.py`` that
has an augmenting ``asgiserve/_speedups/NAME.pxd``: adding a pxd is all it takes to compile one more shared module.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

from setuptools import Command, Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.editable_wheel import editable_wheel
from setuptools.command.sdist import sdist
from setuptools.errors import SetupError

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # PEP 517 front ends do not put the source directory on the path

import build_llhttp  # noqa: E402

VARIABLE = "ASGISERVE_EXTENSIONS"
PACKAGE = "asgiserve._speedups"
SPEEDUPS = Path("asgiserve", "_speedups")
CORE = Path("asgiserve", "_core")
GENERATED = Path("build", "cython")
LLHTTP_CACHE = Path("build", "llhttp")

DIRECTIVES: dict[str, Any] = {
    "language_level": "3",
    # The shared sources are typed by their pxd alone: a `bytes` annotation must not make the compiled build reject
    # a bytearray that the pure build takes.
    "annotation_typing": False,
    "binding": False,
    "initializedcheck": False,
    "auto_pickle": False,
    "emit_code_comments": False,
}

WARNING = """
*******************************************************************************
asgiserve: PURE PYTHON BUILD. The compiled stack could not be built:

    {reason}

The server works the same, and is several times slower. To see this as an error
instead, set {variable}=require; to ask for it, {variable}=off.
*******************************************************************************
"""


def choice() -> str:
    """Return the value of ASGISERVE_EXTENSIONS: "auto", "require" or "off"."""
    value = os.environ.get(VARIABLE, "") or "auto"
    if value not in ("auto", "require", "off"):
        raise SetupError(f"{VARIABLE}={value}: expected auto, require or off")
    return value


def sources() -> dict[str, str]:
    """Return module name -> Cython source, relative to this directory, of every extension."""
    found = {path.stem: path.as_posix() for path in SPEEDUPS.glob("*.pyx")}
    for pxd in SPEEDUPS.glob("*.pxd"):
        shared = CORE / f"{pxd.stem}.py"
        if pxd.stem not in found and shared.is_file():
            found[pxd.stem] = shared.as_posix()
    return dict(sorted(found.items()))


def extensions() -> list[Extension]:
    """The extensions to build; their sources are filled in by `BuildExtensions`, when they are really built."""
    if choice() == "off":
        return []
    if platform.python_implementation() != "CPython":
        if choice() == "require":
            raise SetupError(f"{VARIABLE}=require: there is no compiled stack for {platform.python_implementation()}")
        return []
    # Whoever sets CFLAGS replaces Python's own, and with them -DNDEBUG: its headers are full of assertions.
    flags = ["-O3", "-DNDEBUG", "-fvisibility=hidden"] if os.name != "nt" else []
    if sys.platform == "linux":
        flags.append("-fno-plt")  # Python binds all symbols as it loads an extension: a stub for later is a detour
    return [Extension(f"{PACKAGE}.{name}", [], extra_compile_args=flags) for name in sources()]


def translate(wanted: dict[str, str], build_dir: Path, **options: Any) -> dict[str, str]:
    """Run Cython over `wanted` (module name -> source); return module name -> C file below `build_dir`."""
    from Cython.Build import cythonize

    # The Extension carries the module name, so that a source in _core finds the pxd of its compiled name.
    modules = [Extension(f"{PACKAGE}.{name}", [source]) for name, source in wanted.items()]
    try:
        made = cythonize(modules, compiler_directives=DIRECTIVES, build_dir=str(build_dir), force=True, **options)
    except Exception as error:
        raise SetupError(f"Cython failed on {str(error) or type(error).__name__}") from error
    return {name: module.sources[0] for name, module in zip(wanted, made)}


def remove_in_place() -> None:
    """Remove what an earlier in-place build left for this interpreter: a stale module would be imported."""
    for path in SPEEDUPS.glob(f"*{sysconfig.get_config_var('EXT_SUFFIX')}"):
        path.unlink()


class BuildExtensions(build_ext):
    """Compile all of the extensions or none: a half compiled stack is worth nothing."""

    def run(self) -> None:
        if self.inplace:
            remove_in_place()
        if not self.extensions:
            return
        try:
            self.prepare()
            super().run()
        except Exception as error:
            if choice() == "require":
                raise SetupError(f"{VARIABLE}=require, and the compiled stack could not be built: {error}") from error
            self.fall_back(error)

    def prepare(self) -> None:
        """Find llhttp, translate what changed to C, and give each extension its sources."""
        try:
            import Cython
        except ImportError:
            raise SetupError("Cython is not installed") from None
        llhttp = build_llhttp.obtain(ROOT, LLHTTP_CACHE)
        print(f"llhttp {llhttp.version} from {llhttp.include_dir}")

        folder = GENERATED.with_name(f"{GENERATED.name}-{Cython.__version__}")
        declarations = [*SPEEDUPS.glob("*.px[di]"), Path("setup.py")]
        c_files: dict[str, str] = {}
        stale: dict[str, str] = {}
        for name, source in sources().items():
            c_file = folder / Path(source).with_suffix(".c")
            newest = max(path.stat().st_mtime for path in [Path(source), *declarations])
            if c_file.is_file() and c_file.stat().st_mtime > newest:
                c_files[name] = str(c_file)
            else:
                stale[name] = source
        if stale:
            c_files.update(translate(stale, folder))

        for extension in self.extensions:
            name = extension.name.rpartition(".")[2]
            extension.sources = [c_files[name]]
            extension.depends = ["setup.py"]
            if name == "parser":
                extension.sources += llhttp.sources
                extension.include_dirs.append(llhttp.include_dir)
        if self.parallel is None:
            self.parallel = os.cpu_count()

        # llhttp is linked in, so its licence travels with every binary.
        if llhttp.licence is not None and not self.inplace:
            target = Path(self.build_lib, SPEEDUPS, "LICENSE.llhttp")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(llhttp.licence, target)

    def fall_back(self, error: Exception) -> None:
        """Turn this build into a pure one, and say so."""
        for extension in self.extensions:
            Path(self.build_lib, *extension.name.split(".")[:-1], "LICENSE.llhttp").unlink(missing_ok=True)
            Path(self.build_lib, self.get_ext_filename(extension.name)).unlink(missing_ok=True)
        if self.inplace:
            remove_in_place()
        self.extensions = []
        self.distribution.ext_modules = []
        wheel = self.distribution.get_command_obj("bdist_wheel", create=False)
        if wheel is not None:
            wheel.root_is_pure = True  # decided from ext_modules before they were built
        reason = str(error).strip() or type(error).__name__
        print(WARNING.format(reason=reason.replace("\n", "\n    "), variable=VARIABLE), file=sys.stderr, flush=True)


class EditableInstall(editable_wheel):
    """An editable install with nothing to compile must not find what an earlier one compiled."""

    def run(self) -> None:
        if not self.distribution.ext_modules:
            remove_in_place()
        super().run()


class SourceDistribution(sdist):
    """Bundle llhttp, so that building from a source distribution downloads nothing more."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        try:
            build_llhttp.copy(build_llhttp.obtain(ROOT, LLHTTP_CACHE), Path(base_dir, "vendor", "llhttp"))
        except build_llhttp.LlhttpError as error:
            if choice() == "require":
                raise SetupError(f"{VARIABLE}=require, and llhttp cannot be bundled: {error}") from error
            shutil.rmtree(Path(base_dir, "vendor"), ignore_errors=True)
            print(f"\nasgiserve: this sdist is without llhttp: {error}\n", file=sys.stderr, flush=True)


class Annotate(Command):
    """Write Cython's annotated sources (yellow lines call into Python) to build/annotate."""

    description = "write annotated Cython sources to build/annotate"
    user_options: list[tuple[str, str, str]] = []

    def initialize_options(self) -> None:
        pass

    def finalize_options(self) -> None:
        pass

    def run(self) -> None:
        translate(sources(), Path("build", "annotate"), annotate=True)


setup(
    ext_modules=extensions(),
    cmdclass={
        "annotate": Annotate,
        "build_ext": BuildExtensions,
        "editable_wheel": EditableInstall,
        "sdist": SourceDistribution,
    },
)

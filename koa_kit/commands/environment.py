"""The environment check: one line per requirement, OK or what to do."""

from __future__ import annotations

import getpass
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from koa_kit import paths
from koa_kit.commands.data import find_folder
from koa_kit.commands.options import AsJson, print_json
from koa_kit.errors import KoaError

if TYPE_CHECKING:
    from koa_kit.engine.weights import PublishedFile

EXTRAS = ("notebooks", "offline")
"""Extras whose packages are looked for; the others belong to those who need them."""

INSTALL = "pip install -c constraints.txt -e '.[all]'"


@dataclass(frozen=True)
class Check:
    """One requirement: whether it is met, what was found, and what to do if it is not."""

    name: str
    ok: bool
    found: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{'OK ' if self.ok else 'FIX'} {self.name} {self.found}".rstrip()
        return line if self.ok or not self.remedy else f"{line}\n    to do: {self.remedy}"


def doctor(
    as_json: AsJson = False,
    share: Annotated[bool, typer.Option("--share", help="Leave out names and paths, for a report to others.")] = False,
) -> None:
    """Say for each requirement that it is met, or what to do.

    Example: koa doctor --share
    """
    checks = check()
    if share:
        system = Check("system", True, f"{platform.system()} {platform.release()} {platform.machine()}")
        checks = [Check(shareable(each.name), each.ok, shareable(each.found), shareable(each.remedy))
                  for each in (system, *checks)]  # fmt: skip
    if as_json:
        print_json([asdict(each) for each in checks])
    else:
        typer.echo("\n".join(map(str, checks)))
    if not all(each.ok for each in checks):
        raise typer.Exit(1)


def shareable(text: str) -> str:
    """The text without paths, and without the names of this user and this machine."""
    places = (Path.home(), Path.cwd(), paths.PACKAGE.parent, paths.cache_dir(), paths.data_dir(), sys.prefix)
    # whole folders first: a path with a blank in it has no end that could be seen
    for place in sorted({str(place) for place in places} - {"/"}, key=len, reverse=True):
        text = text.replace(place, "/…")
    text = re.sub(r"(?<![\w.])(?:[A-Za-z]:)?[\\/][^\s,;:'\"]+", "<path>", text)
    for name, stands_for in ((getpass.getuser(), "<user>"), (platform.node(), "<machine>")):
        text = re.sub(rf"\b{re.escape(name)}\b", stands_for, text) if name else text
    return text


def check() -> list[Check]:
    """One `Check` per requirement: Python, packages, torch, weights, Jupyter's kernel, folders, data sets."""
    makers = (check_packages, check_torch, check_weights, check_kernel, check_cache, check_data)
    return [line for maker in makers for line in maker()]


def check_packages() -> Iterator[Check]:
    """Whether this Python and the installed packages are those that koa_kit and its `EXTRAS` ask for."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        kit = metadata("koa_kit")
    except PackageNotFoundError:
        yield Check("koa_kit", False, "is not installed in this Python", f"In the clone: {INSTALL}")
        return
    found, needed = platform.python_version(), kit["Requires-Python"]
    remedy = "Make a new environment: make PYTHON=python3.12 run"
    yield Check("python", found in SpecifierSet(needed), f"{found} ({needed})", remedy)
    for requirement in map(Requirement, kit.get_all("Requires-Dist") or ()):
        marker = requirement.marker
        if not marker or any(marker.evaluate({"extra": extra}) for extra in ("", *EXTRAS)):
            yield check_package(requirement)


def check_package(requirement) -> Check:
    """Whether one `packaging.requirements.Requirement` is met."""
    needed = f"({requirement.specifier})" if str(requirement.specifier) else ""
    remedy = f"pip install -c constraints.txt '{requirement.name}{requirement.specifier}'"
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return Check(requirement.name, False, f"is not installed {needed}".rstrip(), remedy)
    fits = requirement.specifier.contains(found, prereleases=True)
    return Check(requirement.name, fits, f"{found} {needed}".rstrip(), remedy)


def check_torch() -> Iterator[Check]:
    """Whether torch and torchvision can be imported together, and what they compute on."""
    try:
        import torch
        import torchvision
    except Exception as error:  # a wheel from another source fails with RuntimeError, OSError or ImportError
        remedy = "Install both from the same source, in one command: " + INSTALL
        if "nms" in str(error):
            remedy = "torchvision was built for another torch. " + remedy
        yield Check("torch with torchvision", False, f"cannot be imported: {error}", remedy)
        return
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {os.cpu_count()} cores"
    yield Check("torch with torchvision", hasattr(torchvision.ops, "nms"), f"works on {device}", INSTALL)


def check_weights(files: Sequence[PublishedFile] = ()) -> Iterator[Check]:
    """Whether the weights in installed packages are the published ones; `files` omitted, all that the kit uses."""
    try:
        from koa_kit.engine.weights import LITE, MINILM, checked_file
    except Exception as error:  # it needs torch, which may be broken in as many ways as above
        yield Check("weights", False, f"cannot be checked: {error}", INSTALL)
        return
    for published in files or (*LITE.values(), MINILM):
        ok, found, remedy = True, f"sha256 {published.sha256[:12]}…", ""
        try:
            checked_file(published)
        except KoaError as error:
            ok, found, remedy = False, f"{error.what} {error.where or ''}".strip(), error.remedy or ""
        yield Check(f"weights {published.package}", ok, found, remedy)


def check_kernel() -> Iterator[Check]:
    """Whether notebooks find a kernel that is this Python."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager

        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except (ImportError, KeyError):  # Jupyter is not installed, or has no such kernel
        remedy = f"{INSTALL}; then {sys.executable} -m ipykernel install --sys-prefix"
        yield Check("jupyter kernel python3", False, "is missing", remedy)
        return
    # Jupyter itself replaces the bare names by the Python it runs on
    ours = Path(command).name == command or Path(command).absolute() == Path(sys.executable).absolute()
    found = "is this Python" if ours else f"is {command}, another Python; `koa run` uses this one all the same"
    yield Check("jupyter kernel python3", True, found)


def check_cache() -> Iterator[Check]:
    """Whether something can be kept in the cache folder."""
    folder = paths.cache_dir()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        yield Check("cache", False, f"{folder}: {error.strerror}", "Set KOA_CACHE_DIR to a folder you may write to.")
        return
    yield Check("cache", True, str(folder))


def check_data() -> Iterator[Check]:
    """Which data sets of the manifest are here; one that is not is no fault, since the phantom knees always are."""
    from koa_kit.data import load_manifest

    try:
        entries = load_manifest().values()
    except KoaError as error:
        yield Check("data manifest", False, str(error), error.remedy or "")
        return
    for entry in entries:
        folder = find_folder(entry.name)
        found = f"in {folder}" if folder else f"is not here, and need not be; see `koa data show {entry.name}`"
        yield Check(f"data set {entry.name}", True, "is drawn by the kit" if entry.access == "generated" else found)

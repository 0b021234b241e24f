"""Which versions of a model answer: follows a directory of `<version>/` directories."""

from __future__ import annotations

import logging
from pathlib import Path

from pipeline.errors import InputError
from serving.loaded_model import LoadedModel

_log = logging.getLogger(__name__)
#: Path, size in bytes, time of the last change in nanoseconds.
_File = tuple[Path, int, int]


class ModelVersions:
    """The newest version of a directory that can be loaded, and the one served before it.

    `refresh` looks at the directory again; only its caller's thread changes what is
    loaded, other threads just `get`. The earlier version stays, so that sessions whose
    gate it computed go on; it is dropped at the next switch, and its memory is freed
    when the last request that uses it ends. Names that are no numbers are never touched.
    """

    def __init__(self, directory: Path) -> None:
        """Loads the newest version that can be loaded.

        Raises:
            InputError: there is none; says what is wrong with the newest.
        """
        self.directory = directory
        #: Versions that could not be loaded, with the reason; forgotten when their directory changes or goes.
        self.failed: dict[int, str] = {}
        #: At most two, the newest in use last. Replaced as a whole, never changed: readers need no lock.
        self.loaded: tuple[LoadedModel, ...] = ()
        #: What was in the directory of a version when it was last looked at and not loaded.
        self._seen: dict[int, frozenset[_File]] = {}
        for version in self._versions():
            self._seen[version] = self._files(version)
            if model := self._load(version):
                self.loaded = (model,)
                break
        if not self.loaded:
            no_version = (
                f"{directory}: has no version, a directory named by a number; "
                "give the model's own directory as `awmoe export` printed it, or export first"
            )
            raise InputError(next(iter(self.failed.values()), no_version))
        for version in self.failed:
            self._warn(version)

    @property
    def current(self) -> LoadedModel:
        """What answers requests that name no version."""
        return self.loaded[-1]

    def get(self, version: int | None) -> LoadedModel | None:
        """A loaded version, by default the current one; None if it is not loaded."""
        if version is None:
            return self.current
        return next((model for model in self.loaded if model.version == version), None)

    def refresh(self) -> None:
        """Switches to the directory's largest version that can be loaded, up or down.

        A version is loaded when its files stood still since the last look, so that one that
        is still being copied waits; one that failed is tried again when its files changed.
        """
        for version in self._versions():
            if version == self.current.version:
                return
            model = self.get(version) or self._load_settled(version)
            if model is not None:
                self.loaded = (self.current, model)
                _log.info("serving version %d from %s", version, self.directory)
                return

    def _versions(self) -> list[int]:
        """Of the directory, the newest first; what is known of others is forgotten."""
        try:
            names = [path.name for path in self.directory.iterdir() if path.is_dir()]
        except OSError:
            names = []
        # `isdecimal` takes digits of every script; a version is written as Python writes an integer
        versions = {int(name) for name in names if name.isdecimal() and str(int(name)) == name}
        self.failed = {version: reason for version, reason in self.failed.items() if version in versions}
        self._seen = {version: files for version, files in self._seen.items() if version in versions}
        return sorted(versions, reverse=True)

    def _load_settled(self, version: int) -> LoadedModel | None:
        files = self._files(version)
        if files != self._seen.get(version):
            self._seen[version] = files
            self.failed.pop(version, None)
            return None
        if version in self.failed:
            return None
        model = self._load(version)
        if model is None:
            self._warn(version)
        return model

    def _load(self, version: int) -> LoadedModel | None:
        try:
            return LoadedModel.load(self.directory / str(version))
        except InputError as error:
            self.failed[version] = str(error)
            return None

    def _warn(self, version: int) -> None:
        _log.warning("version %d is not served, version %d is: %s", version, self.current.version, self.failed[version])

    def _files(self, version: int) -> frozenset[_File]:
        """Everything in a version's directory."""
        try:
            found = [(path, path.stat()) for path in (self.directory / str(version)).rglob("*")]
        except OSError:  # one went meanwhile: somebody is at work there
            return frozenset()
        return frozenset((path, status.st_size, status.st_mtime_ns) for path, status in found)

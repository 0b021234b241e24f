"""Which versions of a model answer: follows a directory of `<version>/` directories."""

from __future__ import annotations

import logging
from pathlib import Path

from pipeline.errors import InputError
from serving.loaded_model import LoadedModel

_log = logging.getLogger(__name__)


class ModelVersions:
    """The newest version of a directory and the one served before it.

    `refresh` looks at the directory again; only its caller's thread changes what is
    loaded, other threads just `get`. The earlier version stays, so that sessions whose
    gate it computed go on; it is dropped at the next switch, and its memory is freed
    when the last request that uses it ends. Names that are no numbers are never touched.
    """

    def __init__(self, directory: Path) -> None:
        """Loads the newest version.

        Raises:
            InputError: there is none, or it cannot be loaded.
        """
        self.directory = directory
        #: Versions that could not be loaded, with the reason; forgotten when their directory goes.
        self.failed: dict[int, str] = {}
        #: At most two, the newest in use last. Replaced as a whole, never changed: readers need no lock.
        self.loaded: tuple[LoadedModel, ...] = ()
        newest = self._newest()
        if newest is None:
            raise InputError(
                f"{directory}: has no version, a directory named by a number; "
                "give the model's own directory as `awmoe export` printed it, or export first"
            )
        self.loaded = (LoadedModel.load(directory / str(newest)),)

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
        """Switches to the directory's largest version, up or down; what cannot be loaded changes nothing."""
        newest = self._newest()
        if newest is None or newest == self.current.version or newest in self.failed:
            return
        model = self.get(newest)
        if model is None:
            try:
                model = LoadedModel.load(self.directory / str(newest))
            except InputError as error:
                self.failed[newest] = str(error)
                _log.warning("still serving version %d: %s", self.current.version, error)
                return
        self.loaded = (self.current, model)
        _log.info("serving version %d from %s", newest, self.directory)

    def _newest(self) -> int | None:
        try:
            names = [path.name for path in self.directory.iterdir() if path.is_dir()]
        except OSError:
            names = []
        # `isdecimal` takes digits of every script; a version is written as Python writes an integer
        versions = {int(name) for name in names if name.isdecimal() and str(int(name)) == name}
        self.failed = {version: reason for version, reason in self.failed.items() if version in versions}
        return max(versions, default=None)

"""Which versions of a model answer: follows a directory of `<version>/` directories."""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping
from pathlib import Path

import grpc

from export.version_numbers import no_version, version_numbers
from pipeline.errors import InputError
from serving.loaded_model import LoadedModel
from serving.model_choice import ModelChoice
from serving.serving_error import ServingError

_log = logging.getLogger(__name__)
#: Path, size in bytes, time of the last change in nanoseconds.
_File = tuple[Path, int, int]


class ModelVersions:
    """The newest version of a directory that can be loaded, the one served before it, and those with a label.

    `refresh` looks at the directory again; only its caller's thread changes what is
    loaded, other threads just `get`. The earlier version stays, so that sessions whose
    gate it computed go on; it is dropped at the next switch, and its memory is freed
    when the last request that uses it ends. A labelled version stays loaded, whatever
    becomes of its directory. Names that are no numbers are never touched.
    """

    def __init__(self, directory: Path, labels: Mapping[str, int] | None = None) -> None:
        """Loads the newest version that can be loaded, and the labelled ones.

        Args:
            directory: has the versions; its name is the model's, for a symbolic link the link's own.
            labels: of versions, such as `{"canary": 7}`.

        Raises:
            InputError: there is no version, and what is wrong with the newest; or a labelled one cannot be loaded.
        """
        self.directory = directory
        #: What clients ask for.
        self.model_name = directory.absolute().name
        self.labels = dict(labels or {})
        #: Versions that could not be loaded, with the reason; forgotten when their directory changes or goes.
        self.failed: dict[int, str] = {}
        #: At most two beside the labelled ones, the newest in use last. Replaced as a whole, never changed:
        #: readers need no lock.
        self.loaded: tuple[LoadedModel, ...] = ()
        #: What was in the directory of a version when it was last looked at and not loaded.
        self._seen: dict[int, frozenset[_File]] = {}
        for version in self._versions():
            self._seen[version] = self._files(version)
            if model := self._load(version):
                self.loaded = (model,)
                break
        if not self.loaded:
            raise InputError(next(iter(self.failed.values()), no_version(directory)))
        self._labelled = self._load_labelled()
        self._serve(self.loaded)
        _collect_garbage()
        for version in self.failed:
            self._warn(version)

    @property
    def current(self) -> LoadedModel:
        """What answers requests that name no version."""
        return self.loaded[-1]

    def find(self, choice: ModelChoice) -> LoadedModel:
        """What answers a request.

        Raises:
            ServingError: NOT_FOUND, with what there is instead.
        """
        self.check_name(choice.name)
        version = choice.version if choice.label is None else self.version_of(choice.label)
        model = self.get(version)
        if model is None:
            loaded = " and ".join(str(m.version) for m in self.loaded)
            raise ServingError(
                grpc.StatusCode.NOT_FOUND, f"no version {version} of `{self.model_name}`; loaded: {loaded}"
            )
        return model

    def check_name(self, name: str) -> None:
        """Raises NOT_FOUND where a request asks for another model."""
        if name != self.model_name:
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"no model `{name}`; this server has `{self.model_name}`")

    def version_of(self, label: str) -> int:
        """The version with a label; raises NOT_FOUND where none has it."""
        if label not in self.labels:
            known = " and ".join(f"`{name}`" for name in self.labels) or "no labels"
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"no version labelled `{label}`; this server has {known}")
        return self.labels[label]

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
                self._serve((self.current, model))
                _collect_garbage()
                _log.info("serving version %d from %s", version, self.directory)
                return

    def _serve(self, followed: tuple[LoadedModel, ...]) -> None:
        self.loaded = (*(model for model in self._labelled if model not in followed), *followed)

    def _load_labelled(self) -> tuple[LoadedModel, ...]:
        models: dict[int, LoadedModel] = {}
        for label, version in self.labels.items():
            path = self.directory / str(version)
            if not path.is_dir():
                raise InputError(f"label `{label}`: {self.directory} has no version {version}")
            if version not in models:
                models[version] = self.get(version) or LoadedModel.load(path)
        return tuple(models.values())

    def _versions(self) -> list[int]:
        """Of the directory, the newest first; what is known of others is forgotten."""
        try:
            versions = version_numbers(self.directory)
        except OSError:
            versions = []
        self.failed = {version: reason for version, reason in self.failed.items() if version in versions}
        self._seen = {version: files for version, files in self._seen.items() if version in versions}
        return versions[::-1]

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


def _collect_garbage() -> None:
    """Gives back what versions that are gone leave in cycles, and takes what is loaded out of later collections.

    One that looked at all of TensorFlow's objects would hold up requests for a quarter of a second.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()

"""What a sweep of the contrastive loss's settings found, as `sweep.json` holds it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.comparison import Summary
from pipeline.errors import InputError

SWEEP = "sweep.json"
#: A value of each parameter of `model.contrastive` that is varied.
Setting = dict[str, float]


@dataclass(frozen=True)
class Point:
    """A setting's test metric, over seeds.

    Attributes:
        value: of the parameter that is varied.
        mean: of the metric on the long-tail part.
        std: over seeds; None with one.
        full: the same on the full test part.
        validation: session AUC of the validation part, by which a setting is chosen.
        p: of the difference to the scenario's own setting on the long-tail part (`difference_test`); None of that
            setting itself, with a single seed, and where the metric is not defined.
    """

    value: float
    mean: float | None
    std: float | None
    full: Summary
    validation: Summary
    p: float | None


@dataclass(frozen=True)
class Best:
    """The setting with the highest mean validation AUC, among all that were tried; `p` as of `Point`."""

    setting: Setting
    validation: Summary
    part: Summary
    full: Summary
    p: float | None


@dataclass(frozen=True)
class Sweep:
    """Figure 8's curves.

    Attributes:
        metric: name of the test metric.
        part: the long-tail part of the test sessions; `full` where the scenario has none.
        seeds: of every setting.
        own: the scenario's own setting, a point of every curve.
        parameters: points by parameter, by rising value.
        best: chosen by validation.
        searched: settings that the joint search tried beside the curves'.
    """

    metric: str
    part: str
    seeds: tuple[int, ...]
    own: Setting
    parameters: dict[str, list[Point]]
    best: Best
    searched: int

    def chosen(self, parameter: str) -> Point:
        """What validation chooses on a curve; the lowest value among equals."""
        known = [point for point in self.parameters[parameter] if point.validation.mean is not None]
        return max(known or self.parameters[parameter], key=lambda point: point.validation.mean or 0.0)

    def write(self, experiment: Path) -> Path:
        """Writes `sweep.json` into an experiment's directory."""
        path = experiment / SWEEP
        path.write_text(json.dumps(asdict(self), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        return path

    @classmethod
    def read(cls, experiment: Path) -> Sweep:
        """Reads what `write` wrote.

        Raises:
            InputError: there is none, or it is damaged; says which command makes it.
        """
        path = experiment / SWEEP
        made = f"`awmoe sweep --output {experiment}` makes it"
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                metric=raw["metric"],
                part=raw["part"],
                seeds=tuple(raw["seeds"]),
                own=dict(raw["own"]),
                parameters={name: [Point(**_numbers(p)) for p in points] for name, points in raw["parameters"].items()},
                best=Best(**_numbers(raw["best"])),
                searched=raw["searched"],
            )
        except FileNotFoundError:
            raise InputError(f"{path}: is not there; {made}") from None
        except KeyError as error:
            raise InputError(f"{path}: has no {error}; {made}") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: is damaged ({error}); {made}") from None


def _numbers(raw: dict[str, Any]) -> dict[str, Any]:
    """A point or the best one, its summaries read."""
    return {name: Summary(**value) if name in ("validation", "part", "full") else value for name, value in raw.items()}

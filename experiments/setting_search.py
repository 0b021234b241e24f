"""The search for the contrastive loss's parameters, kept on disk."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from experiments.sweep_result import Setting

#: Optuna's own record of what was tried; `optuna.load_study` reads it.
JOURNAL = "search.journal"
_SPACE: dict[str, FloatDistribution | IntDistribution] = {
    "mask_probability": FloatDistribution(0.01, 0.5, log=True),
    "negatives": IntDistribution(1, 10),
    "weight": FloatDistribution(0.01, 0.5, log=True),
}


class SettingSearch:
    """Optuna's TPE over all parameters together, to be maximised.

    Args:
        directory: gets the journal; one that is there is gone on with.
    """

    def __init__(self, directory: Path) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = JournalStorage(JournalFileBackend(str(directory / JOURNAL)))
        self._study = optuna.create_study(
            study_name="contrastive", storage=storage, direction="maximize", load_if_exists=True
        )

    def propose(self, number: int) -> Setting:
        """The search's setting of that number: the one proposed before, or else a new one.

        It is written down before it is trained: a search that was stopped goes on with it.
        """
        if made := self._find(number=number):
            return dict(made.user_attrs["setting"])
        # a sampler that starts anew draws the same numbers again, so its seed goes on with the search
        self._study.sampler = optuna.samplers.TPESampler(seed=number, n_startup_trials=5)
        trial = self._study.ask(dict(_SPACE))
        # rounded, so that a label of a few digits says all of it
        setting = {
            name: float(f"{value:.2g}") if isinstance(value, float) else value for name, value in trial.params.items()
        }
        # the number last: a proposal without one, of a process killed just here, is never found again
        trial.set_user_attr("setting", setting)
        trial.set_user_attr("number", number)
        return setting

    def tell(self, setting: Setting, value: float, number: int | None = None) -> None:
        """The value of a proposal, or of a setting tried without one (no number); told twice, it counts once."""
        made = self._find(setting=setting, number=number)
        if made is not None:
            if not made.state.is_finished():
                self._study.tell(made.number, value)
            return
        # a scenario's own setting may be outside of what is searched
        if all(bounds.low <= setting[name] <= bounds.high for name, bounds in _SPACE.items()):
            self._study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE,
                    params=setting,
                    distributions=dict(_SPACE),
                    value=value,
                    user_attrs={"setting": setting},
                )
            )

    def _find(self, number: int | None, setting: Setting | None = None) -> FrozenTrial | None:
        for made in self._study.get_trials(deepcopy=False):
            attributes = made.user_attrs
            if attributes.get("number") == number and setting in (None, attributes.get("setting")):
                return made
        return None

"""A setting of the contrastive loss as text."""

from __future__ import annotations

from experiments.sweep_result import Setting


def setting_text(setting: Setting) -> str:
    """For instance `mask probability 0.1, negatives 3, weight 0.05`."""
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in setting.items())

"""What a project's own code answers to our hooks, checked before it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from ..jobs import RESERVED

if TYPE_CHECKING:
    import pytest

    from ..records import Cell, Check, Environment
    from ..settings import Settings
    from ..verdicts import Judged, Softening


def with_models(config: pytest.Config, settings: Settings) -> Settings:
    """Return the settings with the models that ``pytest_trtgate_models`` names, if it names any.

    Raises:
        SettingsError: It returns something that is no list of paths.
    """
    models = config.hook.pytest_trtgate_models(config=config, models=tuple(model.path for model in settings.models))
    if models is None:
        return settings
    if not isinstance(models, (list, tuple)) or not all(isinstance(m, (str, Path)) for m in models):
        raise SettingsError(f"pytest_trtgate_models returned {models!r}; allowed: a list of paths of .pt files")
    # What a model has of its own stays with it.
    own = {model.path: model for model in settings.models}
    chosen = tuple(own.get(path, path) for path in (config.rootpath / model for model in models))
    # What nobody has set stays so: some of what it means hangs on that.
    given = settings.model_dump(by_alias=True, exclude_unset=True)
    return type(settings).model_validate({**given, "models": chosen})


def export_args(config: pytest.Config, settings: Settings, cell: Cell) -> dict[str, Any]:
    """Return what ``pytest_trtgate_export_args`` adds for a cell; of two that set the same, the first called wins.

    Raises:
        SettingsError: It asks for what the gate itself decides, or for a value that JSON has no word for.
    """
    given = settings.export_arguments(cell.backend)
    answers = config.hook.pytest_trtgate_export_args(config=config, cell=cell, arguments=given)
    found: dict[str, Any] = {}
    for answer in reversed([a for a in answers if a is not None]):
        found |= _mapping("pytest_trtgate_export_args", answer)
    for name, value in found.items():
        if name in RESERVED or name == "nms":
            said = f"pytest_trtgate_export_args sets '{name}', which pytest-trtgate itself decides"
            raise SettingsError(f"{said}; allowed: other arguments of Ultralytics' exporter")
        if not isinstance(value, (str, int, float, bool, type(None))):
            said = f"pytest_trtgate_export_args sets {name} = {value!r}"
            raise SettingsError(f"{said}; allowed: texts, numbers, True, False and None")
    return found


def with_extra(config: pytest.Config, environment: Environment) -> Environment:
    """Return the environment with the fields that ``pytest_trtgate_environment`` adds.

    Raises:
        SettingsError: It returns something else than a map of fields.
    """
    extra = dict(environment.extra)
    for answer in config.hook.pytest_trtgate_environment(config=config, environment=environment):
        extra |= {str(k): str(v) for k, v in _mapping("pytest_trtgate_environment", answer).items()}
    return environment.model_copy(update={"extra": extra})


def amendments(config: pytest.Config, judged: Judged) -> Sequence[Check | Softening]:
    """Return what ``pytest_trtgate_verdict`` adds to a verdict."""
    answers: list[Check | Softening] = config.hook.pytest_trtgate_verdict(config=config, judged=judged)
    return answers


def _mapping(hook: str, answer: Any) -> Mapping[str, Any]:
    if not isinstance(answer, Mapping):
        raise SettingsError(f"{hook} returned a {type(answer).__name__}; allowed: a dictionary, or None")
    return answer

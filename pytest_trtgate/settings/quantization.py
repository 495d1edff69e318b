"""Settings of quantization: how INT8 engines are calibrated, and which layers stay out of INT8."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, StringConstraints

from .types import Flag, Section, field_allowing, one_or_many

EXPORTER = "exporter"
"""The calibrator that the exporter takes by itself."""
CALIBRATOR = r"exporter|minmax|entropy|percentile-(?:9\d)(?:\.\d{1,4})?"
BACKEND_KEYS = {
    "onnxruntime": ("keep", "calibrator", "per_channel", "reduce_range"),
    "tensorrt": ("keep", "calibrator"),
}
"""What a backend can be asked; TensorRT quantizes weights per channel by itself, and never saturates."""


class Int8(Section):
    """``[tool.trtgate.quantization.int8]``: what differs from the INT8 that Ultralytics' exporter makes by itself."""

    example = '{ keep = ["head.keypoints"] }'
    keep: Annotated[tuple[Annotated[str, StringConstraints(min_length=1)], ...], BeforeValidator(one_or_many)] = (
        field_allowing("names of layers, as `trtgate layers best.pt` prints them, or patterns of such", default=())
    )
    calibrator: str = field_allowing(
        "exporter, minmax, entropy, or a percentile from 90 on, such as percentile-99.99",
        default=EXPORTER,
        pattern=f"^(?:{CALIBRATOR})$",
    )
    per_channel: Flag = field_allowing("true or false", default=False)
    reduce_range: Flag = field_allowing("true or false", default=False)

    @property
    def percentile(self) -> float | None:
        """The share of values, in percent, that the calibrator leaves in range; None where it is another."""
        kind, _, percent = self.calibrator.partition("-")
        return float(percent) if kind == "percentile" else None

    def changes(self, backend: str) -> dict[str, Any]:
        """Return what a backend is asked beyond the exporter's own INT8: empty where that is nothing."""
        values = self.model_dump(mode="json", include=set(BACKEND_KEYS.get(backend, ())), exclude_defaults=True)
        # In the key of an engine, the order of names means nothing.
        return {name: sorted(set(value)) if name == "keep" else value for name, value in values.items()}

    def over(self, general: Int8) -> Int8:
        """Return these settings with the general ones where they say nothing."""
        return general.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})

    def toml(self, table: str) -> str:
        """Return the table, under its name, as a settings file has it."""
        lines = [f"[{table}]"]
        for name, value in self.model_dump(exclude_defaults=True).items():
            listed = ", ".join(map(_quoted, value)) if isinstance(value, tuple) else ""
            text = f"[{listed}]" if listed else str(value).lower() if isinstance(value, bool) else _quoted(value)
            lines.append(f"{name} = {text}")
        return "\n".join(lines)


class Quantization(Section):
    """``[tool.trtgate.quantization]``: how engines of lower precision are made, by precision."""

    example = '{ int8 = { keep = ["head.keypoints"] } }'
    int8: Int8 = Int8()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

"""What two results must have in common before their scores may be compared or stand in one table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mcsr_bench.plugin.registry import methods
from mcsr_bench.results.bundle import TrialRecord
from mcsr_bench.system.precision import FULL, kind_of


class Basis(BaseModel):
    """Rules, data and method that the scores of a trial rest on. A field's title is what people call it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: str = Field(title="protocol")
    """Its id and hash, as in the signature of a score."""
    preset: str = Field(title="preset")
    precision: str = Field(default=FULL, title="precision of the training")
    fingerprint: str = Field(title="fingerprint of the data")
    split: str = Field(title="split")
    preparation: dict[str, str] = Field(title="preparation of the data")
    reading: dict[str, int] = Field(title="revision of the data's reading")
    data_code: str = Field(title="version of the dataset plugin's code")
    revision: int | None = Field(title="revision of the method")
    code: str = Field(title="version of the method's code")

    @staticmethod
    def of(record: TrialRecord) -> Basis:
        """That of a trial; no revision where there is no card, as of a function that was given to `evaluate`."""
        data, revision = record.data, record.card.get("revision")
        return Basis(
            protocol=f"{record.protocol}:{record.protocol_hash}",
            preset=record.preset,
            precision=kind_of(record.precision),
            fingerprint=data.fingerprint,
            split=data.split_hash,
            preparation=data.preparation,
            reading=data.revisions,
            data_code=data.code,
            revision=revision if isinstance(revision, int) else None,
            code=record.code,
        )

    def named(self) -> Iterator[tuple[str, str, Any]]:
        """Every field with its title and value."""
        for name, field in type(self).model_fields.items():
            yield name, field.title or name, getattr(self, name)

    def differs(self, other: Basis, there: str) -> str:
        """What is another than in ``other``, as a clause; "" where all is the same. there: what has the other, in a word."""
        pairs = zip(self.named(), other.named(), strict=True)
        return "; ".join(
            f"another {title} ({mine}; {there}: {theirs})" for (_, title, mine), (*_, theirs) in pairs if mine != theirs
        )


def trains(record: TrialRecord) -> bool:
    """Whether the method of a trial is trained: as its card here says, else as the record does."""
    plugin = methods().plugins().get(record.method)
    return plugin.card.trains if plugin and plugin.card else bool(record.card.get("trains", True))

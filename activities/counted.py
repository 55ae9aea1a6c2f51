"""Counts what the gate decided and how effects ended, through the SDK's meter: the worker's METRICS_PORT shows it.

Counted after the transaction, so what was rolled back is not. A process counts from its start; the ledger has it all.
"""

from typing import Final, Literal

from temporalio import activity

from models.cases import Batch, Effect
from models.gate import Held

DECISIONS: Final = "holdfast_gate_decisions"
EFFECTS: Final = "holdfast_effects"
NO_RULE: Final = "none"


def asked(batch: Batch, effect: Effect, answer: str | Held, rule: str | None) -> None:
    """The gate was asked: it held the effect back, or gave it a row in this state under this rule.

    Without a rule the row is another try's, and was counted then. A row that is settled at once has ended as well.
    """
    if isinstance(answer, Held):
        _decided(batch, effect, "wait", answer.rule)
    elif rule is not None:
        _decided(batch, effect, "drop" if answer == "dropped" else "go", rule)
        if answer != "claimed":
            ended(batch, effect, answer)


def _decided(batch: Batch, effect: Effect, decision: Literal["go", "wait", "drop"], rule: str) -> None:
    said = {"playbook": batch.playbook, "kind": effect.kind, "decision": decision, "rule": rule or NO_RULE}
    _count(DECISIONS, "Answers of the send gate, by rule.", said)


def ended(batch: Batch, effect: Effect, state: str) -> None:
    """An effect ended in this state. One in doubt ends once more, when it is known."""
    said = {"playbook": batch.playbook, "kind": effect.kind, "state": state}
    _count(EFFECTS, "Effects by how they ended.", said)


def _count(name: str, description: str, labels: dict[str, str]) -> None:
    if activity.in_activity():
        activity.metric_meter().create_counter(name, description).add(1, labels)

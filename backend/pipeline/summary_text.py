"""The description of a network as text: a table for each part, then one of the parts, and what training would need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backend.core.settings import TrainSettings
from backend.training.summary import LayerSummary, NetworkSummary, PartSummary

_HEAD = ("Layer", "Type", "Output", "Parameters", "Connected to")
_NUMBERS = 3
"""The column that is set flush right."""
_RULE = 110
"""Characters that the line below a table's head has at most."""


def summary_text(network: NetworkSummary, train: TrainSettings, found: Mapping[str, Any]) -> str:
    """The whole description.

    Args:
        network: parts and layers.
        train: settings of the training.
        found: figures of the summary stage, see backend.pipeline.summary.run().
    """
    blocks = [_part_block(part) for part in network.parts]
    blocks.append(_network_block(network.parts, train, found))
    blocks += ["\n".join(f"{label}: {words}" for label, words in network.facts.items())] if network.facts else []
    blocks.append(
        f"A batch of {found['batch_size']} in {found['precision']} needs about {_mb(found['need_mb'])} on "
        f"{found['device']}, where {_mb(found['free_mb'])} are free; one iteration calculates {found['gflop']:,} GFLOP."
    )
    blocks += [f"Mind: {sentence}" for _, sentence in train.cautions()]
    return "\n\n".join(blocks) + "\n"


def _part_block(part: PartSummary) -> str:
    rows = [_HEAD, *(_layer_row(layer) for layer in part.layers)]
    return f"Part: {part.name}\n{_table(rows)}\n{_total(part.parameters, part.trained)}"


def _network_block(parts: Sequence[PartSummary], train: TrainSettings, found: Mapping[str, Any]) -> str:
    rows = [("Part", "", "Output", "Parameters", "Connected to")]
    rows += [(part.name, "", part.output, f"{part.parameters:,}", part.source) for part in parts]
    title = f"Network: {train.model_class}"
    return f"{title}\n{_table(rows)}\n{_total(int(found['parameters']), int(found['trained']))}"


def _layer_row(layer: LayerSummary) -> tuple[str, ...]:
    return layer.name, layer.kind, layer.output, f"{layer.parameters:,}", layer.source


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned lines, the first one underlined; empty columns are left out."""
    columns = [i for i in range(len(rows[0])) if any(row[i] for row in rows)]
    widths = {i: max(len(row[i]) for row in rows) for i in columns}
    lines = [
        "  ".join(row[i].rjust(widths[i]) if i == _NUMBERS else row[i].ljust(widths[i]) for i in columns).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * min(_RULE, max(len(line) for line in lines)), *lines[1:]])


def _total(parameters: int, trained: int) -> str:
    return f"Total {parameters:,} parameters, {trained:,} learn, {parameters - trained:,} hold still."


def _mb(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"

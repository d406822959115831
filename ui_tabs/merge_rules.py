"""The rules of which face gets which model, as the page changes them: one for a track, a person, or everyone else."""

from __future__ import annotations

from collections.abc import Sequence

from backend.core.settings import FaceRule

NO_TRACK = -1
LEAVE, SWAP = "leave", "swap"


def own_rule(rules: Sequence[FaceRule], track: int = NO_TRACK, person: str = "") -> FaceRule | None:
    """The rule made for exactly this track or person, or for everyone; None when there is none."""
    return next((rule for rule in rules if _about(rule) == (track, person.casefold())), None)


def chosen_rules(rules: Sequence[FaceRule], track: int, person: str, choice: str) -> tuple[FaceRule, ...]:
    """The rules after a choice; narrower ones come first, so that they decide.

    Args:
        track, person: whom it is for; NO_TRACK and "" for everyone else.
        choice: "" for no rule, LEAVE, SWAP for the model of the merge, or SWAP:<model>.
    """
    others = [rule for rule in rules if _about(rule) != (track, person.casefold())]
    if choice:
        action, _, model = choice.partition(":")
        rule = {"track": track, "person": person, "action": action, "model": model}
        others.append(FaceRule.model_validate(rule))
    return tuple(sorted(others, key=lambda rule: (rule.track < 0, not rule.person, rule.track, rule.person)))


def held_choice(rule: FaceRule | None) -> str:
    """The choice that made a rule, see chosen_rules()."""
    if rule is None:
        return ""
    return LEAVE if rule.action == LEAVE else f"{SWAP}:{rule.model}" if rule.model else SWAP


def _about(rule: FaceRule) -> tuple[int, str]:
    return rule.track, rule.person.casefold()

"""Rules of which face gets which model, made one by one; the list of persons and tracks."""

from __future__ import annotations

from backend.core.settings import FaceRule, MergeSettings
from ui_tabs.merge_clip import Group, MergeClip
from ui_tabs.merge_faces import faces_html
from ui_tabs.merge_rules import LEAVE, NO_TRACK, SWAP, chosen_rules, held_choice, own_rule


def clip(persons=(), tracks=()):
    return MergeClip(
        ("00001",), (None,), {},
        {name: Group(3, 1, 9, name, f"{name}.jpg") for name in persons},
        {number: Group(2, 4, 4, "", f"t{number}.jpg") for number in tracks},
        (1,),
    )  # fmt: skip


def shown(found, plan=None, models=("anna", "bert")):
    return faces_html(found, plan or MergeSettings(model="anna"), models, lambda name: f"/{name}")


def test_narrower_rules_come_first_whatever_the_order_they_were_made_in():
    rules = chosen_rules((), NO_TRACK, "", LEAVE)
    rules = chosen_rules(rules, NO_TRACK, "Ann", SWAP)
    rules = chosen_rules(rules, 7, "", f"{SWAP}:bert")
    assert [(rule.track, rule.person, rule.action, rule.model) for rule in rules] == [
        (7, "", "swap", "bert"),
        (-1, "Ann", "swap", ""),
        (-1, "", "leave", ""),
    ]


def test_a_choice_replaces_the_one_for_the_same_faces_and_can_be_taken_back():
    rules = chosen_rules((), NO_TRACK, "Ann", LEAVE)
    again = chosen_rules(rules, NO_TRACK, "ann", f"{SWAP}:a:b")
    assert [(rule.person, rule.model) for rule in again] == [("ann", "a:b")]
    assert chosen_rules(again, NO_TRACK, "Ann", "") == ()


def test_a_rule_is_shown_as_the_choice_that_made_it():
    for choice in ("", LEAVE, SWAP, f"{SWAP}:bert"):
        rules = chosen_rules((), 3, "", choice)
        assert held_choice(own_rule(rules, 3)) == choice
    assert own_rule((FaceRule(person="Ann"),), 3) is None


def test_one_person_needs_no_choice():
    assert "every face is swapped" in shown(clip())
    assert "All faces are one person" in shown(clip(persons=["Ann"], tracks=[1]))


def test_every_person_and_track_has_its_choice():
    found = shown(
        clip(["Ann", "<Bert>"], [3, 4]), MergeSettings(model="anna", faces=(FaceRule(track=4, action=LEAVE),))
    )
    assert found.count("<select") == 5  # everyone else too
    assert "<Bert>" not in found
    assert "&lt;Bert&gt;" in found
    assert "swap, model bert" in found
    row = found[found.index("<b>Track 4</b>") :]
    assert '<option value="leave" selected>' in row
    assert "frame 4</button>" in row
    assert 'src="/t4.jpg"' in found


def test_a_rule_for_a_model_that_is_gone_is_still_shown():
    plan = MergeSettings(model="anna", faces=(FaceRule(person="Ann", model="old"),))
    assert '<option value="swap:old" selected>' in shown(clip(["Ann", "Bert"]), plan)


def test_rules_are_shown_even_when_the_persons_are_not_known_any_more():
    plan = MergeSettings(model="anna", faces=(FaceRule(action=LEAVE),))
    assert '<option value="leave" selected>' in shown(clip(), plan)
